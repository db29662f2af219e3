//! A server that loses what it held is noticed, and everything is saved again.

use tower_breaker::{State, store::StateStore};

use super::{breaker, flush, key, store, stored, trip};
use crate::support::{redis::RedisServer, wait::eventually};

#[test]
fn a_server_that_was_emptied_is_filled_again_without_a_call() {
    let Some(server) = RedisServer::start() else { return };
    let breaker = breaker("idle", store(&server));
    trip(&breaker);
    flush(&breaker);
    for empty in [
        (|server: &RedisServer| drop(server.command(&["FLUSHALL"]))) as fn(&RedisServer),
        |server: &RedisServer| server.restart(),
    ] {
        empty(&server);
        eventually("it is saved again", || stored(&server, "idle").contains(r#""state":"open""#));
        eventually("it is healthy", || breaker.store_health().is_healthy());
    }
    let page = store(&server).load_page(None, 10).unwrap();
    assert_eq!(page.len(), 1);
    assert_eq!(page[0].0, key("idle"));
}

#[test]
fn a_state_set_by_hand_that_the_server_has_evicted_is_saved_again() {
    let Some(server) = RedisServer::start() else { return };
    let store = store(&server);
    let by_hand = breaker("by hand", store.clone());
    by_hand.force_open();
    flush(&by_hand);
    server.command(&["DEL", &key("by hand")]);
    // Also while the store is in use all the time.
    let busy = breaker("busy", store);
    eventually("it is saved again", || {
        busy.reset();
        stored(&server, "by hand").contains(r#""state":"forced_open""#)
    });
    eventually("it is healthy", || by_hand.store_health().is_healthy());
}

#[test]
fn two_replicas_notice_that_a_server_was_emptied() {
    let Some(server) = RedisServer::start() else { return };
    let breakers = ["one", "two"].map(|name| breaker(name, store(&server)));
    breakers.iter().for_each(trip);
    breakers.iter().for_each(flush);
    server.command(&["FLUSHALL"]);
    for name in ["one", "two"] {
        eventually("it is saved again", || stored(&server, name) != "(nil)");
    }
}

#[test]
fn a_server_that_comes_late_is_read() {
    let Some(server) = RedisServer::start() else { return };
    let first = breaker("late", store(&server));
    trip(&first);
    drop(first);
    let saved = stored(&server, "late");
    server.stop();
    let late = breaker("late", store(&server));
    assert_eq!(late.state(), State::Closed);
    assert!(late.store_health().is_degraded(), "{}", late.store_health());
    server.restart();
    server.command(&["SET", &key("late"), &saved]);
    eventually("it is restored", || late.state() == State::Open);
}
