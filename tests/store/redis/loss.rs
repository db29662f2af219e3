//! A server that loses what it held is noticed, and everything is saved again.

use std::{thread, time::Duration};

use tower_breaker::{
    State,
    store::{SaveEntry, StateStore},
};

use super::{MINUTE, breaker, flush, key, store, stored, trip};
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

/// States set by hand are looked at every ten seconds.
#[test]
fn only_what_another_process_has_not_replaced_is_missed() {
    let Some(server) = RedisServer::start() else { return };
    let (store, other) = (store(&server), store(&server));
    let keys = ["replaced for ever", "replaced for a while", "gone 1", "gone 2"];
    let saved = keys.map(|key| SaveEntry::new(key, "1"));
    store.save_all(&saved).unwrap();
    other.save(&SaveEntry::new(keys[0], "2")).unwrap();
    other.save(&SaveEntry::new(keys[1], "2").with_ttl(MINUTE)).unwrap();
    let look = || {
        thread::sleep(Duration::from_millis(10_100));
        store.verify()
    };
    look().unwrap();
    other.delete_all(&[keys[0].to_owned(), keys[1].to_owned()]).unwrap();
    look().unwrap();
    other.delete_all(&[keys[2].to_owned(), keys[3].to_owned()]).unwrap();
    let error = look().unwrap_err().to_string();
    assert!(error.contains("lost") && error.contains("gone 1"), "{error}");
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
