//! Commands to a whole cluster, each sent to the node that has its key.
//!
//! Commands of one pipeline that go to one node stay in their order. Those to several nodes do not:
//! what must come later is sent later.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use redis::{
    ConnectionLike, ErrorKind, Pipeline, RedisError, RedisResult, ServerError, ServerErrorKind,
    Value,
};

use super::{command::PackedCommand, map::SlotMap};
use crate::store::{
    error::StoreError,
    redis::{address::Node, connector::Connector},
};

/// How often commands follow a slot that moves, before that is an error.
const ATTEMPTS: usize = 4;

pub(in super::super) struct Router {
    connector: Arc<Connector>,
    map: SlotMap,
    nodes: HashMap<Node, redis::Connection>,
    /// Why a node cannot be connected to, or the slots not be read.
    failure: Option<StoreError>,
}

impl Router {
    /// Reads who has which slot. Nodes are connected to when they are needed.
    pub(in super::super) fn connect(connector: Arc<Connector>) -> Result<Self, StoreError> {
        let map = SlotMap::read(&connector)?;
        Ok(Self { connector, map, nodes: HashMap::new(), failure: None })
    }

    /// What the last error was about, if it was about a connection.
    pub(in super::super) fn take_failure(&mut self) -> Option<StoreError> {
        self.failure.take()
    }

    pub(in super::super) fn set_read_timeout(&self, timeout: Duration) -> RedisResult<()> {
        self.nodes.values().try_for_each(|node| node.set_read_timeout(Some(timeout)))
    }

    /// The replies are in the order of the commands. Every node gets its commands, even if another
    /// one fails.
    fn send(&mut self, commands: &[PackedCommand<'_>]) -> RedisResult<Vec<Value>> {
        let mut replies = vec![Value::Nil; commands.len()];
        let mut left: Vec<usize> = (0..commands.len()).collect();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                let read = SlotMap::read(&self.connector);
                self.map = read.map_err(|failure| self.fail(failure))?;
            }
            self.send_to_nodes(commands, &left, &mut replies)?;
            left.retain(|place| redirection(&replies[*place], ServerErrorKind::Moved).is_some());
            if left.is_empty() {
                break;
            }
        }
        Ok(replies)
    }

    fn send_to_nodes(
        &mut self,
        commands: &[PackedCommand<'_>],
        places: &[usize],
        replies: &mut [Value],
    ) -> RedisResult<()> {
        let mut groups: BTreeMap<Node, Vec<usize>> = BTreeMap::new();
        for place in places {
            let slot = commands[*place].slot();
            let node =
                slot.map_or_else(|| self.map.any_primary(), |slot| self.map.primary_of(slot));
            let Some(node) = node else {
                let reason =
                    format!("{} serves only a part of the slots", self.connector.address());
                return Err(self.fail(StoreError::Unavailable(reason.into())));
            };
            groups.entry(node.clone()).or_default().push(*place);
        }
        let mut result = Ok(());
        for (node, places) in groups {
            let bytes: Vec<u8> =
                places.iter().flat_map(|place| commands[*place].bytes).copied().collect();
            match self.ask(&node, &bytes, places.len()) {
                Ok(answers) => {
                    for (place, answer) in places.into_iter().zip(answers) {
                        match self.follow(&commands[place], answer) {
                            Ok(answer) => replies[place] = answer,
                            Err(error) => result = Err(error),
                        }
                    }
                }
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// A key that moves at this moment may be with another node already.
    fn follow(&mut self, command: &PackedCommand<'_>, answer: Value) -> RedisResult<Value> {
        let Some(node) = redirection(&answer, ServerErrorKind::Ask) else { return Ok(answer) };
        let mut bytes = redis::cmd("ASKING").get_packed_command();
        bytes.extend_from_slice(command.bytes);
        let mut answers = self.ask(&node, &bytes, 2)?;
        Ok(answers.pop().unwrap_or(answer))
    }

    fn ask(&mut self, node: &Node, bytes: &[u8], count: usize) -> RedisResult<Vec<Value>> {
        if !self.nodes.contains_key(node) {
            let connected = self.connector.connect_to(node);
            let connection = connected.map_err(|failure| self.fail(failure))?;
            self.nodes.insert(node.clone(), connection);
        }
        let unknown = || RedisError::from((ErrorKind::ClusterConnectionNotFound, "no connection"));
        let connection = self.nodes.get_mut(node).ok_or_else(unknown)?;
        let answers = connection.req_packed_commands(bytes, 0, count);
        if answers.is_err() {
            self.nodes.remove(node);
        }
        answers
    }

    /// The failure is taken by [`take_failure`](Self::take_failure).
    fn fail(&mut self, failure: StoreError) -> RedisError {
        self.failure = Some(failure);
        (ErrorKind::ClusterConnectionNotFound, "no connection to a node").into()
    }
}

impl ConnectionLike for Router {
    fn req_packed_command(&mut self, bytes: &[u8]) -> RedisResult<Value> {
        let commands = PackedCommand::all(bytes).ok_or_else(unreadable)?;
        if let [command] = &*commands
            && let Some(keys) = command.keys_apart()
        {
            let mut pipeline = Pipeline::new();
            for key in keys {
                pipeline.cmd("GET").arg(*key);
            }
            let bytes = pipeline.get_packed_pipeline();
            let values = self.send(&PackedCommand::all(&bytes).ok_or_else(unreadable)?)?;
            let error = values.iter().find(|value| matches!(value, Value::ServerError(_)));
            return Ok(error.cloned().unwrap_or(Value::Array(values)));
        }
        Ok(self.send(&commands)?.pop().unwrap_or(Value::Nil))
    }

    /// Without the transactions for which the second argument would be: they are not used.
    fn req_packed_commands(
        &mut self,
        bytes: &[u8],
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        let commands = PackedCommand::all(bytes).ok_or_else(unreadable)?;
        if offset != 0 || count != commands.len() {
            return Err((ErrorKind::Client, "a transaction in a cluster").into());
        }
        self.send(&commands)
    }

    fn get_db(&self) -> i64 {
        0
    }

    fn check_connection(&mut self) -> bool {
        self.nodes.values_mut().all(ConnectionLike::check_connection)
    }

    fn is_open(&self) -> bool {
        self.nodes.values().all(ConnectionLike::is_open)
    }
}

fn unreadable() -> RedisError {
    (ErrorKind::Client, "a command that cannot be read back").into()
}

/// The node in an answer such as `MOVED 3999 127.0.0.1:6381`.
fn redirection(answer: &Value, kind: ServerErrorKind) -> Option<Node> {
    let Value::ServerError(error) = answer else { return None };
    (error.kind() == Some(kind)).then(|| node_in(error))?
}

fn node_in(error: &ServerError) -> Option<Node> {
    let (_, address) = error.details()?.split_once(' ')?;
    let (host, port) = address.rsplit_once(':')?;
    Some(Node { host: host.to_owned(), port: port.parse().ok()? })
}
