//! A group whose store cannot be read when it is built.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tower_breaker::{
    KeyedBreakers, MemoryStore, SledStore, State, StateStore,
    store::{SaveEntry, StoreError, Tiered},
};

use super::stored::group;
use crate::support::{
    sick_store::{SickStore, Symptom},
    wait::eventually,
};

/// Waits until the key has the state that was set by hand, without a call of it.
fn await_forced_open(hosts: &KeyedBreakers, key: &str) {
    eventually("it is restored", || {
        hosts.get(key).is_some_and(|breaker| breaker.state() == State::ForcedOpen)
    });
}

#[test]
fn a_store_that_fails_or_hangs_at_the_start_is_restored_from_once_it_works() {
    for symptom in [Symptom::Fails, Symptom::Hangs] {
        let store = SickStore::default();
        group("hosts", &store).get_or_create("bad").unwrap().force_open();
        store.show(symptom);
        let hosts = group("hosts", &store);
        assert!(hosts.is_empty(), "{symptom:?}");
        store.heal();
        await_forced_open(&hosts, "bad");
    }
}

/// The old process of a deploy.
#[test]
fn a_folder_that_is_held_at_the_start_is_restored_from_once_it_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let open = || SledStore::open(folder.path()).unwrap();
    let old = group("hosts", &open());
    old.get_or_create("bad").unwrap().force_open();
    old.get("bad").unwrap().flush_blocking(Duration::from_secs(60)).unwrap();
    let new = group("hosts", &open());
    assert!(new.is_empty());
    drop(old);
    await_forced_open(&new, "bad");
}

#[test]
fn a_group_that_is_dropped_no_longer_reads_its_store() {
    let store = SickStore::default();
    store.show(Symptom::Fails);
    drop(group("hosts", &store));
    eventually("the store is released", || store.is_last());
}

#[test]
fn the_far_store_is_restored_from_while_the_near_one_cannot_be_read() {
    let (near, far) = (SickStore::default(), MemoryStore::new());
    group("hosts", &near).get_or_create("near").unwrap().force_open();
    group("hosts", &far).get_or_create("far").unwrap().force_open();
    near.show(Symptom::Fails);
    let hosts = group("hosts", &Tiered::new(near.clone(), far));
    assert_eq!(hosts.get("far").unwrap().state(), State::ForcedOpen);
    assert_eq!(hosts.len(), 1);
    near.heal();
    // As well.
    await_forced_open(&hosts, "near");
}

/// A store of which a part cannot be read.
#[derive(Clone, Default)]
struct Partial {
    reachable: MemoryStore,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    /// When all was to be read.
    attempts: Vec<Instant>,
    /// How often what can be reached was read.
    reached: usize,
    can_reach: bool,
}

impl StateStore for Partial {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.reachable.load(key)
    }

    fn load_page(&self, _: Option<&str>, _: usize) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.log.lock().unwrap().attempts.push(Instant::now());
        Err(StoreError::Unavailable("a part cannot be read".into()))
    }

    fn visit_page(
        &self,
        after: Option<&str>,
        limit: usize,
        visit: &mut dyn FnMut(&str, &[u8]),
    ) -> Result<(), StoreError> {
        let mut log = self.log.lock().unwrap();
        if after.is_none() {
            log.attempts.push(Instant::now());
        }
        if log.can_reach {
            log.reached += usize::from(after.is_none());
            self.reachable.visit_page(after, limit, visit)?;
        }
        Err(StoreError::Unavailable("a part cannot be read".into()))
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.reachable.save(entry)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.reachable.delete(key)
    }
}

#[test]
fn what_can_be_reached_is_read_once_and_the_rest_is_tried_less_and_less_often() {
    let store = Partial::default();
    group("hosts", &store.reachable).get_or_create("bad").unwrap().force_open();
    let hosts = group("hosts", &store);
    assert!(hosts.is_empty());
    store.log.lock().unwrap().can_reach = true;
    await_forced_open(&hosts, "bad");
    eventually("it is tried four times", || store.log.lock().unwrap().attempts.len() >= 4);
    let log = store.log.lock().unwrap();
    assert_eq!(log.reached, 1);
    let pause = |number: usize| log.attempts[number + 1] - log.attempts[number];
    assert!(pause(0) >= Duration::from_secs(1));
    assert!(pause(1) >= Duration::from_secs(2));
    assert!(pause(2) >= Duration::from_secs(4));
}

/// The names are read in pages of a thousand.
#[test]
fn what_can_be_reached_is_read_to_the_last_page() {
    let store = Partial::default();
    store.log.lock().unwrap().can_reach = true;
    group("hosts", &store.reachable).get_or_create("zz").unwrap().force_open();
    let key = "circuit_breaker:hosts:zz:state";
    let open = store.reachable.load(key).unwrap().unwrap();
    // They sort before those of the group.
    for number in 0..3000 {
        let other = format!("circuit_breaker:early:{number}:state");
        store.reachable.save(&SaveEntry::new(other, open.clone())).unwrap();
    }
    let hosts = group("hosts", &store);
    assert_eq!(hosts.get("zz").unwrap().state(), State::ForcedOpen);
    assert_eq!(store.log.lock().unwrap().reached, 1);
}
