//! A server that loses what it held is noticed, and everything is saved again.

use std::{thread, time::Duration};

use tower_breaker::{
    State,
    store::{SaveEntry, StateStore},
};

use super::{MINUTE, breaker, flush, key, store, stored, trip};
use crate::support::{redis::RedisServer, wait::eventually};

#[needs::programs("redis-server")]
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

#[needs::programs("redis-server")]
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
#[needs::programs("redis-server")]
#[test]
fn only_what_another_process_has_not_replaced_is_missed() {
    let Some(server) = RedisServer::start() else { return };
    let (store, other) = (store(&server), store(&server));
    let keys = ["1 replaced forever", "2 replaced for a while", "3\ngone", "4 gone", "5 there"];
    let saved = keys.map(|key| SaveEntry::new(key, format!("of {key}")));
    store.save_all(&saved).unwrap();
    other.save(&SaveEntry::new(keys[0], "new")).unwrap();
    other.save(&SaveEntry::new(keys[1], "new").with_ttl(MINUTE)).unwrap();
    let look = || {
        thread::sleep(Duration::from_millis(10_100));
        store.verify()
    };
    look().unwrap();
    other.delete_all(&keys[..4].iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    let error = look().unwrap_err().to_string();
    assert!(error.contains("lost"), "{error}");
    // A name may hold anything, and so may a key.
    assert!(error.contains(r"3\ngone") && !error.contains('\n'), "{error}");
}

#[needs::programs("redis-server")]
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

#[needs::programs("redis-server")]
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

const INDEX: &str = "circuit_breaker:index";

fn listed(server: &RedisServer) -> usize {
    store(server).load_page(None, 1000).unwrap().len()
}

/// Under a memory policy such as `volatile-lru`, a server may evict the index alone.
#[needs::programs("redis-server")]
#[test]
fn many_breakers_start_with_their_states_although_the_index_was_evicted() {
    const MANY: usize = 200;
    let Some(server) = RedisServer::start() else { return };
    let build = || {
        let store = store(&server);
        (0..MANY).map(|one| breaker(&one.to_string(), store.clone())).collect::<Vec<_>>()
    };
    let breakers = build();
    breakers.iter().for_each(trip);
    breakers.iter().for_each(flush);
    drop(breakers);
    assert_eq!(listed(&server), MANY);
    server.command(&["DEL", INDEX]);
    let breakers = build();
    let open = breakers.iter().filter(|breaker| breaker.state() == State::Open).count();
    assert_eq!(open, MANY);
    eventually("all are listed again", || listed(&server) == MANY);
    eventually("it is healthy", || breakers[0].store_health().is_healthy());
}

#[needs::programs("redis-server")]
#[test]
fn replicas_list_what_they_have_saved_again_once_one_notices_that_the_index_was_evicted() {
    let Some(server) = RedisServer::start() else { return };
    let [idle, other] = ["idle", "other"].map(|name| breaker(name, store(&server)));
    for breaker in [&idle, &other] {
        trip(breaker);
        flush(breaker);
    }
    for replica_saves in [false, true] {
        assert_eq!(listed(&server), 2);
        server.command(&["DEL", INDEX]);
        if replica_saves {
            other.reset();
        }
        eventually("both are listed again", || listed(&server) == 2);
        eventually("they are healthy", || {
            [&idle, &other].iter().all(|breaker| breaker.store_health().is_healthy())
        });
    }
}

#[needs::programs("redis-server")]
#[test]
fn an_index_that_ends_with_the_last_of_what_it_names_is_not_lost() {
    let Some(server) = RedisServer::start() else { return };
    let store = store(&server);
    let short = SaveEntry::new("short", "1").with_ttl(Duration::from_millis(50));
    let save = |entry: &SaveEntry| store.save(entry).unwrap();
    save(&SaveEntry::new("long", "1").with_ttl(MINUTE));
    save(&short);
    store.delete("long").unwrap();
    eventually("it has expired", || listed(&server) == 0);
    save(&short);
    eventually("it has expired", || listed(&server) == 0);
    save(&SaveEntry::new("long", "1").with_ttl(MINUTE));
    store.delete("long").unwrap();
    save(&SaveEntry::new("long", "2").with_ttl(MINUTE));
    store.verify().unwrap();
    server.command(&["DEL", INDEX]);
    let error = store.save(&short).unwrap_err();
    assert!(error.to_string().contains("its index was evicted"), "{error}");
}
