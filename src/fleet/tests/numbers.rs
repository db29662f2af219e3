//! The numbers of fences, which outlast the key of their breaker.

use super::{KEY, support::redis::RedisServer, transport};
use crate::{
    fleet::protocol::{
        command::{FleetCommand, Request},
        fence::Fence,
        record::Record,
    },
    state::State,
};

const SHARD: &str = "circuit_breaker:{0}:fleet:shard";

#[needs::programs("redis-server")]
#[test]
fn a_number_that_a_replica_knows_is_not_given_again_although_both_keys_are_lost() {
    let Some(server) = RedisServer::start() else { return };
    let mut transport = transport(&server);
    let mut call = |name, request| {
        transport.call(name, FleetCommand { seen: Fence::NONE, request }).unwrap().record
    };
    let fence = Fence { number: 7, token: 7 };
    let known = Request::Join(Record { fence, ..Record::NONE });
    call("a", known);
    // One after the other: replicas notice that the first is gone, and join again.
    server.command(&["DEL", SHARD]);
    call("a", known);
    server.command(&["DEL", KEY]);
    let next = Request::Set { token: 1, state: State::ForcedOpen, lasts: None, opens: 0 };
    assert_eq!(call("a", next).fence.number, 8);
    // They grow over all breakers, since the server does not know to which the last one belonged.
    let next = Request::Set { token: 2, state: State::ForcedOpen, lasts: None, opens: 0 };
    assert_eq!(call("b", next).fence.number, 9);
    // A breaker that has never had a state has none by this.
    assert_eq!(call("c", Request::Join(Record::NONE)), Record::NONE);
    assert_eq!(server.command(&["EXISTS", "circuit_breaker:{0}:fleet:c:breaker"]), "0");
}
