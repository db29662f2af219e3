//! A connection that a forked process inherits: both would read each other's replies.

use redis::Cmd;

use super::{support::redis::RedisServer, transport};
use crate::process;

#[needs::programs("redis-server")]
#[test]
fn a_forked_process_has_a_connection_of_its_own() {
    let Some(server) = RedisServer::start() else { return };
    let mut transport = transport(&server);
    // Not by `cmd`: the library itself sends no such command.
    let mut number = || {
        let number = transport.connection.call(|it| Cmd::new().arg("CLIENT").arg("ID").query(it));
        number.unwrap()
    };
    let of_parent: u64 = number();
    assert_eq!(number(), of_parent);
    process::seam::PROCESS.set(Some(1));
    let of_child = number();
    assert_ne!(of_child, of_parent);
    assert_eq!(number(), of_child);
}
