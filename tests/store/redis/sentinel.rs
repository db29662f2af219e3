//! A store on a server that sentinels watch.

use tower_breaker::{State, store::RedisStore};

use super::{breaker, flush, key, trip};
use crate::support::{redis_sentinel::Sentinels, wait::eventually};

#[needs::programs("redis-server")]
#[test]
fn the_primary_is_followed_over_a_failover() {
    let Some(sentinels) = Sentinels::start() else { return };
    sentinels.wait_until_ready(&[]);
    let store = RedisStore::open(&sentinels.url()).unwrap();
    let tripped = breaker("payments", store);
    trip(&tripped);
    flush(&tripped);
    let [old, new] = &sentinels.servers;
    eventually("it is replicated", || new.command(&["EXISTS", &key("payments")]) == "1");
    old.stop();
    tripped.force_open();
    eventually("the new primary has it", || {
        new.command(&["GET", &key("payments")]).contains("forced_open")
    });
    eventually("it is healthy", || tripped.store_health().is_healthy());
    let next = breaker("payments", RedisStore::open(&sentinels.url()).unwrap());
    assert_eq!(next.state(), State::ForcedOpen);
}

#[needs::programs("redis-server")]
#[test]
fn a_primary_that_becomes_a_replica_while_it_lives_is_left() {
    let Some(sentinels) = Sentinels::start() else { return };
    sentinels.wait_until_ready(&[]);
    let breaker = breaker("payments", RedisStore::open(&sentinels.url()).unwrap());
    trip(&breaker);
    flush(&breaker);
    eventually("a failover begins", || {
        sentinels.sentinels[2].command(&["SENTINEL", "FAILOVER", "main"]) == "OK"
    });
    let [_, new] = &sentinels.servers;
    eventually("the roles are changed", || new.command(&["ROLE"]).starts_with("master"));
    breaker.force_open();
    eventually("the new primary has it", || {
        new.command(&["GET", &key("payments")]).contains("forced_open")
    });
}
