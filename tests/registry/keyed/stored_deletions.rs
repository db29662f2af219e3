//! What a store no longer holds of breakers that their group has replaced.

use std::time::Duration;

use tower_breaker::{
    Breaker, FileStore, KeyedBreakers, MemoryStore, SledStore, StateStore, store::StoreHealth,
};

use super::stored::fail;
use crate::support::{
    sick_store::{SickStore, Symptom},
    wait::eventually,
};

fn value(store: &impl StateStore, key: &str) -> Option<String> {
    let bytes = store.load(&format!("circuit_breaker:hosts:{key}:state")).unwrap()?;
    Some(String::from_utf8(bytes).unwrap())
}

/// Otherwise invented keys would fill the store until they expire.
#[test]
fn a_replaced_breaker_is_deleted_from_the_store() {
    let store = MemoryStore::new();
    let hosts =
        KeyedBreakers::builder("hosts").store(store.clone()).max_breakers(1).build().unwrap();
    let old = hosts.get_or_create("a").unwrap();
    old.force_open();
    old.reset();
    fail(&old, 3);
    old.flush_blocking(Duration::from_secs(10)).unwrap();
    assert!(value(&store, "a").unwrap().contains(r#""failure_count":3"#));
    assert_eq!(store.history().unwrap().keys(None, 10).unwrap().len(), 1);

    let new = hosts.get_or_create("b").unwrap();
    eventually("its snapshot is gone", || value(&store, "a").is_none());
    eventually("and so is its history", || {
        store.history().unwrap().keys(None, 10).unwrap().is_empty()
    });
    // What is done with a handle that was kept is not saved.
    fail(&old, 2);
    fail(&new, 1);
    new.flush_blocking(Duration::from_secs(10)).unwrap();
    assert_eq!(value(&store, "a"), None);
    assert!(value(&store, "b").is_some());
}

#[test]
fn a_key_that_returns_begins_anew_and_is_saved() {
    let store = MemoryStore::new();
    let hosts =
        KeyedBreakers::builder("hosts").store(store.clone()).max_breakers(1).build().unwrap();
    for _ in 0..20 {
        for key in ["a", "b"] {
            let breaker = hosts.get_or_create(key).unwrap();
            assert_eq!(breaker.stats().consecutive_failures(), 0);
            fail(&breaker, 2);
            if key == "a" {
                breaker.flush_blocking(Duration::from_secs(10)).unwrap();
            }
        }
    }
    hosts.get("b").unwrap().flush_blocking(Duration::from_secs(10)).unwrap();
    eventually("the other one is gone", || value(&store, "a").is_none());
    assert!(value(&store, "b").unwrap().contains(r#""failure_count":2"#));
    drop(hosts);
    assert!(value(&store, "b").is_some());
}

/// The deletions wait for the store, and nothing else does.
#[test]
fn what_is_deleted_while_the_store_fails_is_deleted_when_it_works_again() {
    let store = SickStore::default();
    let hosts =
        KeyedBreakers::builder("hosts").store(store.clone()).max_breakers(1).build().unwrap();
    let old = hosts.get_or_create("a").unwrap();
    fail(&old, 1);
    old.flush_blocking(Duration::from_secs(10)).unwrap();
    store.show(Symptom::Fails);
    hosts.get_or_create("b").unwrap();
    eventually("it was tried", || hosts.get("b").unwrap().store_health() != StoreHealth::Healthy);
    store.heal();
    eventually("it is deleted", || value(&store, "a").is_none());
}

/// A breaker of the user's own has the name of a key's breaker: it owns the state.
#[test]
fn a_snapshot_that_another_breaker_uses_is_not_deleted() {
    let store = MemoryStore::new();
    let hosts =
        KeyedBreakers::builder("hosts").store(store.clone()).max_breakers(1).build().unwrap();
    let own = Breaker::builder("hosts:a").store(store.clone()).build().unwrap();
    fail(&own, 1);
    own.flush_blocking(Duration::from_secs(10)).unwrap();
    fail(&hosts.get_or_create("a").unwrap(), 1);
    hosts.get_or_create("b").unwrap().flush_blocking(Duration::from_secs(10)).unwrap();
    fail(&own, 1);
    own.flush_blocking(Duration::from_secs(10)).unwrap();
    assert!(value(&store, "a").unwrap().contains(r#""failure_count":3"#));
}

/// On a busy machine, a call of the store may take so long that a flush does not wait for it.
fn flush(breaker: &Breaker) {
    eventually("it is saved", || breaker.flush_blocking(Duration::from_secs(30)).is_ok());
}

/// Fifty thousand keys that fail, in a group of fifty.
fn stored_keys_after_an_attack(store: &(impl StateStore + Clone), keys: u32) -> usize {
    const MAX: usize = 50;
    let count = || store.load_page(None, 100_000).unwrap().len();
    let hosts = KeyedBreakers::builder("hosts").store(store.clone()).max_breakers(MAX);
    let hosts = hosts.build().unwrap();
    let mut most = 0;
    for key in 0..keys {
        let breaker = hosts.get_or_create(&key.to_string()).unwrap();
        fail(&breaker, 2);
        if key % (keys / 20) == 0 {
            // So that what is there is stored before it is replaced.
            for breaker in hosts.breakers() {
                flush(&breaker);
            }
            most = most.max(count());
        }
    }
    // Those of which the writer has not heard yet, and those that it is about to delete.
    assert!(most <= 3 * MAX, "{most} keys");
    eventually("what was replaced is deleted", || count() <= MAX);
    assert!(store.history().unwrap().keys(None, 1000).unwrap().len() <= MAX);
    let is_stored = |breaker: &Breaker| {
        flush(breaker);
        store.load(&format!("circuit_breaker:{}:state", breaker.name())).unwrap().is_some()
    };
    assert!(hosts.breakers().iter().all(is_stored));
    count()
}

#[test]
fn invented_keys_do_not_fill_a_sled_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(folder.path().join("state")).unwrap();
    assert!(stored_keys_after_an_attack(&store, 50_000) <= 50);
}

#[test]
fn invented_keys_do_not_fill_a_folder_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path().join("state")).unwrap();
    assert!(stored_keys_after_an_attack(&store, 50_000) <= 50);
}
