//! Sentinels: they watch the servers of a service, and know which one is the primary.

use super::{address::Node, connector::Connector};
use crate::store::error::StoreError;

/// Asks one sentinel after the other, and connects to the primary that they name.
///
/// # Errors
///
/// The most useful one: of the primary, or else of a sentinel.
pub(super) fn connect(
    connector: &Connector,
    service: &str,
) -> Result<redis::Connection, StoreError> {
    let (mut of_primary, mut of_sentinel) = (None, None);
    let mut tried = Vec::new();
    let sentinels = connector.sentinels();
    let (count, first) = (sentinels.len(), connector.first_sentinel());
    let sentinels = sentinels.into_iter().enumerate().cycle().skip(first).take(count);
    for (place, sentinel) in sentinels {
        let asked = connector.open(sentinel).and_then(|live| ask(connector, live, service));
        let node = match asked {
            Ok(node) if tried.contains(&node) => continue,
            Ok(node) => node,
            Err(error) => {
                of_sentinel = Some(error);
                continue;
            }
        };
        match connect_to_primary(connector, &node) {
            Ok(connection) => {
                // One that is gone costs the timeout once, and not at every attempt.
                connector.set_first_sentinel(place);
                return Ok(connection);
            }
            Err(error) => of_primary = Some(error),
        }
        tried.push(node);
    }
    let none = || StoreError::Misconfigured("no sentinel to ask".into());
    Err(of_primary.or(of_sentinel).unwrap_or_else(none))
}

fn ask(
    connector: &Connector,
    mut connection: redis::Connection,
    service: &str,
) -> Result<Node, StoreError> {
    let mut command = redis::cmd("SENTINEL");
    command.arg("get-master-addr-by-name").arg(service);
    let address: Option<(String, u16)> =
        command.query(&mut connection).map_err(|error| connector.error(&error))?;
    let Some((host, port)) = address else {
        let reason = format!("no sentinel knows {}: check the service", connector.address());
        return Err(StoreError::Misconfigured(reason.into()));
    };
    Ok(Node { host, port })
}

/// What a sentinel says may be old: the server has to say so itself.
fn connect_to_primary(connector: &Connector, node: &Node) -> Result<redis::Connection, StoreError> {
    let mut connection = connector.connect_to(node)?;
    let role: Vec<redis::Value> =
        redis::cmd("ROLE").query(&mut connection).map_err(|error| connector.error(&error))?;
    let role = role.into_iter().next().map(redis::from_redis_value::<String>);
    if matches!(&role, Some(Ok(role)) if role == "master") {
        return Ok(connection);
    }
    let reason = format!("{} has no primary now: waiting for a failover", connector.address());
    Err(StoreError::Unavailable(reason.into()))
}
