//! Which node has which slot.

use redis::{RedisResult, Value, from_redis_value};

use super::slot::HashSlot;
use crate::store::{
    error::StoreError,
    redis::{address::Node, connector::Connector},
};

/// How many of the nodes that were seen last are asked before those of the URL.
const ASKED: usize = 4;

#[derive(Debug, Default)]
pub(in super::super) struct SlotMap {
    /// The first and last slot of each range, and their primary.
    ranges: Vec<(HashSlot, HashSlot, Node)>,
}

impl SlotMap {
    /// Asks one node after the other, until one answers.
    pub(in super::super) fn read(connector: &Connector) -> Result<Self, StoreError> {
        let mut failure = None;
        // One that is cut off from the others would give an old answer, so it is not always asked
        // first.
        let mut known = connector.known_nodes();
        fastrand::shuffle(&mut known);
        for node in known.iter().take(ASKED) {
            match connector.connect_to(node).and_then(|live| Self::ask(connector, live, node)) {
                Ok(map) => return Ok(map),
                Err(error) => failure = Some(error),
            }
        }
        for info in connector.nodes()? {
            let Some(node) = Node::of(info.addr()) else { continue };
            match connector.open(info).and_then(|live| Self::ask(connector, live, &node)) {
                Ok(map) => return Ok(map),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| StoreError::Misconfigured("a cluster without nodes".into())))
    }

    fn ask(
        connector: &Connector,
        mut connection: redis::Connection,
        asked: &Node,
    ) -> Result<Self, StoreError> {
        let reply = redis::cmd("CLUSTER").arg("SLOTS").query(&mut connection);
        let map = reply.and_then(|ranges| Self::parse(ranges, asked));
        let map = map.map_err(|error| connector.error(&error))?;
        if map.ranges.is_empty() {
            let reason = format!("{} has no slots yet", connector.address());
            return Err(StoreError::Unavailable(reason.into()));
        }
        connector.set_known_nodes(map.ranges.iter().map(|(_, _, node)| node.clone()).collect());
        Ok(map)
    }

    /// Each range is an array: its first slot, its last, and its nodes, the primary first.
    fn parse(ranges: Vec<Vec<Value>>, asked: &Node) -> RedisResult<Self> {
        let mut parsed = Vec::new();
        for range in ranges {
            let mut parts = range.into_iter();
            let (first, last, Some(Value::Array(primary))) =
                (next(&mut parts)?, next(&mut parts)?, parts.next())
            else {
                continue;
            };
            let mut parts = primary.into_iter();
            let host: Option<String> = next(&mut parts)?;
            // A node that does not know by what name others reach it says so.
            let host = host.filter(|host| !matches!(&**host, "" | "?"));
            let host = host.unwrap_or_else(|| asked.host.clone());
            parsed.push((first, last, Node { host, port: next(&mut parts)? }));
        }
        Ok(Self { ranges: parsed })
    }

    pub(in super::super) fn primary_of(&self, slot: HashSlot) -> Option<&Node> {
        let range = self.ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&slot));
        range.map(|(_, _, node)| node)
    }

    /// The node for commands without a key.
    pub(super) fn any_primary(&self) -> Option<&Node> {
        self.ranges.first().map(|(_, _, node)| node)
    }
}

fn next<T: redis::FromRedisValue>(parts: &mut impl Iterator<Item = Value>) -> RedisResult<T> {
    Ok(from_redis_value(parts.next().unwrap_or(Value::Nil))?)
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::{Node, SlotMap};

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn node(host: Value, port: i64) -> Value {
        Value::Array(vec![host, Value::Int(port), text("id"), Value::Array(Vec::new())])
    }

    #[test]
    fn the_first_node_of_a_range_has_its_slots() {
        let replies = vec![
            vec![Value::Int(0), Value::Int(99), node(text("a"), 1), node(text("b"), 2)],
            vec![Value::Int(100), Value::Int(200), node(Value::Nil, 3)],
            vec![Value::Int(300), Value::Int(16383), node(text("?"), 4)],
        ];
        let asked = Node { host: "asked".to_owned(), port: 9 };
        let map = SlotMap::parse(replies, &asked).unwrap();
        let at = |slot| map.primary_of(slot).map(|node| (node.host.as_str(), node.port));
        assert_eq!([at(0), at(99)], [Some(("a", 1)); 2]);
        assert_eq!([at(100), at(200)], [Some(("asked", 3)); 2]);
        assert_eq!(at(201), None);
        assert_eq!(at(16383), Some(("asked", 4)));
        for broken in [vec![Value::Nil], vec![text("x"), text("y"), node(text("a"), 1)]] {
            assert!(SlotMap::parse(vec![broken], &asked).is_err());
        }
    }
}
