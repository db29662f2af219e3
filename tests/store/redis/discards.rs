//! What a group deletes of a breaker that it has replaced, beside other replicas with the same
//! keys.

use tower_breaker::{
    Breaker, KeyedBreakers, StateStore,
    history::HistoryQuery,
    store::{MemoryStore, Tiered},
};

use super::{breaker, flush, key, store, stored, trip};
use crate::support::{redis::RedisServer, wait::eventually};

/// A group of one breaker: the next key replaces it.
fn group(store: impl StateStore) -> KeyedBreakers {
    KeyedBreakers::builder("hosts").store(store).max_breakers(1).build().unwrap()
}

fn fail(breaker: &Breaker) {
    breaker.try_acquire().unwrap().failure();
    flush(breaker);
}

/// Replaces the breaker, and waits until it has been dealt with: deletions come before saves.
fn replace(hosts: &KeyedBreakers) {
    fail(&hosts.get_or_create("another").unwrap());
}

fn transitions(server: &RedisServer, name: &str) -> String {
    let key = format!("circuit_breaker:{name}:history");
    server.command(&["ZRANGE", &key, "0", "-1"])
}

fn is_indexed(server: &RedisServer, index: &str, name: &str) -> bool {
    let members = server.command(&["ZRANGE", &format!("circuit_breaker:{index}"), "0", "-1"]);
    members.contains(&format!("circuit_breaker:{name}:"))
}

#[needs::programs("redis-server")]
#[test]
fn a_circuit_that_another_replica_has_opened_stays() {
    let Some(server) = RedisServer::start() else { return };
    let hosts = group(store(&server));
    fail(&hosts.get_or_create("a").unwrap());
    let other = breaker("hosts:a", store(&server));
    trip(&other);
    flush(&other);
    let open = stored(&server, "hosts:a");
    assert!(open.contains(r#""state":"open""#), "{open}");
    replace(&hosts);
    assert_eq!(stored(&server, "hosts:a"), open);
    assert!(is_indexed(&server, "index", "hosts:a"));
    assert!(transitions(&server, "hosts:a").contains(r#""to":"open""#));
}

#[needs::programs("redis-server")]
#[test]
fn what_another_replica_has_saved_since_stays() {
    let Some(server) = RedisServer::start() else { return };
    let hosts = group(store(&server));
    fail(&hosts.get_or_create("a").unwrap());
    let other = breaker("hosts:a", store(&server));
    other.reset();
    flush(&other);
    let closed = stored(&server, "hosts:a");
    replace(&hosts);
    assert_eq!(stored(&server, "hosts:a"), closed);
    assert!(transitions(&server, "hosts:a").contains("reset"));
}

#[needs::programs("redis-server")]
#[test]
fn what_the_process_has_saved_itself_goes() {
    let Some(server) = RedisServer::start() else { return };
    let other = breaker("hosts:a", store(&server));
    trip(&other);
    drop(other);
    let hosts = group(store(&server));
    let own = hosts.get_or_create("a").unwrap();
    own.force_open();
    own.reset();
    flush(&own);
    assert_eq!(transitions(&server, "hosts:a").lines().count(), 4);
    replace(&hosts);
    eventually("its snapshot is gone", || stored(&server, "hosts:a") == "(nil)");
    assert!(!is_indexed(&server, "index", "hosts:a"));
    eventually("its records are gone, and those of others are not", || {
        let transitions = transitions(&server, "hosts:a");
        transitions.lines().count() == 1 && transitions.contains(r#""to":"open""#)
    });
    assert!(is_indexed(&server, "histories", "hosts:a"));
}

#[needs::programs("redis-server")]
#[test]
fn invented_keys_do_not_fill_the_server() {
    let Some(server) = RedisServer::start() else { return };
    let store = store(&server);
    let hosts = group(store.clone());
    for number in 0..500 {
        let breaker = hosts.get_or_create(&number.to_string()).unwrap();
        breaker.force_open();
        breaker.reset();
        if number % 10 == 0 {
            flush(&breaker);
        }
    }
    flush(&hosts.get_or_create("499").unwrap());
    eventually("one snapshot is left", || store.load_page(None, 1000).unwrap().len() == 1);
    eventually("and one history", || {
        store.history().unwrap().keys(None, 1000).unwrap() == ["circuit_breaker:hosts:499:history"]
    });
}

/// The removal waits until the server is back, and another replica has opened the circuit by then.
#[needs::programs("redis-server")]
#[test]
fn a_late_removal_from_the_far_store_takes_nothing_of_another_replica() {
    let Some(server) = RedisServer::start() else { return };
    let (near, far) = (MemoryStore::new(), store(&server));
    let tiered = Tiered::new(near.clone(), far);
    let hosts = group(tiered.clone());
    fail(&hosts.get_or_create("a").unwrap());
    eventually("the far store has it", || stored(&server, "hosts:a") != "(nil)");
    let other = breaker("hosts:a", store(&server));
    server.signal("STOP");
    replace(&hosts);
    eventually("the near store has dealt with it", || {
        near.load(&key("hosts:a")).unwrap().is_none()
    });
    eventually("the far store is in trouble", || tiered.far_health().is_degraded());
    trip(&other);
    server.signal("CONT");
    flush(&other);
    let open = stored(&server, "hosts:a");
    assert!(open.contains(r#""state":"open""#), "{open}");
    eventually("all is written", || {
        tiered.far_health().is_healthy() && stored(&server, "hosts:another") != "(nil)"
    });
    assert_eq!(stored(&server, "hosts:a"), open);
    assert!(transitions(&server, "hosts:a").contains(r#""to":"open""#));
}

#[needs::programs("redis-server")]
#[tokio::test]
async fn a_key_that_returns_starts_with_what_another_replica_knows() {
    let Some(server) = RedisServer::start() else { return };
    let hosts = group(store(&server));
    fail(&hosts.get_or_create("a").unwrap());
    let other = breaker("hosts:a", store(&server));
    trip(&other);
    flush(&other);
    replace(&hosts);
    let again = hosts.get_or_create("a").unwrap();
    eventually("it is restored", || again.state() == tower_breaker::State::Open);
    let history = again.history(HistoryQuery::default()).await.unwrap();
    assert!(!history.entries.is_empty());
}
