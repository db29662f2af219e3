//! A group whose store cannot be read when it is built.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio_test::block_on;
use tower::{Layer, ServiceExt, service_fn};
use tower_breaker::{
    KeyedCircuitBreakerLayer, MemoryStore, SledStore, State, StateStore,
    store::{SaveEntry, StoreError, Tiered},
};

use super::stored::group;
use crate::support::{
    sick_store::{SickStore, Symptom},
    wait::eventually,
};

#[test]
fn a_store_that_fails_or_hangs_at_the_start_is_restored_from_once_it_works() {
    for symptom in [Symptom::Fails, Symptom::Hangs] {
        let store = SickStore::default();
        group("hosts", &store).get_or_create("bad").unwrap().force_open();
        store.show(symptom);
        let hosts = group("hosts", &store);
        assert!(hosts.is_empty(), "{symptom:?}");
        store.heal();
        // Without a call of its key.
        eventually("it is restored", || {
            hosts.get("bad").is_some_and(|bad| bad.state() == State::ForcedOpen)
        });
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
    eventually("it is restored", || {
        new.get("bad").is_some_and(|bad| bad.state() == State::ForcedOpen)
    });
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
    eventually("the near one is restored from as well", || {
        hosts.get("near").is_some_and(|near| near.state() == State::ForcedOpen)
    });
}

/// At a deploy, the process before still holds the near store, and works on.
#[test]
fn what_the_near_store_turns_out_to_hold_replaces_what_the_far_one_said() {
    let (near, far) = (SickStore::default(), MemoryStore::new());
    let before = group("hosts", &far);
    before.get_or_create("closed").unwrap().try_acquire().unwrap().failure();
    before.get_or_create("open").unwrap().trip();
    before.get_or_create("kept").unwrap().trip();
    drop(before);
    near.show(Symptom::Fails);
    let hosts = group("hosts", &Tiered::new(near.clone(), far));
    assert!(hosts.get("closed").is_none(), "it loses nothing by waiting");
    for key in ["open", "kept"] {
        assert_eq!(hosts.get(key).unwrap().state(), State::Open);
    }
    hosts.get("kept").unwrap().force_open();
    let before = group("hosts", &near.inner);
    for key in ["closed", "open", "kept"] {
        before.get_or_create(key).unwrap().disable();
    }
    drop(before);
    near.heal();
    for key in ["closed", "open"] {
        eventually("it is restored", || {
            hosts.get(key).is_some_and(|host| host.state() == State::Disabled)
        });
    }
    let kept = hosts.get("kept").unwrap();
    kept.flush_blocking(Duration::from_secs(60)).unwrap();
    assert_eq!(kept.state(), State::ForcedOpen, "it was changed here");
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

    fn visit_reachable_page(
        &self,
        after: Option<&str>,
        limit: usize,
        visit: &mut dyn FnMut(&str, &[u8]),
    ) -> Result<(), StoreError> {
        let mut log = self.log.lock().unwrap();
        if !log.can_reach {
            return Err(StoreError::Unavailable("nothing can be read".into()));
        }
        log.reached += 1;
        self.reachable.visit_page(after, limit, visit)
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.reachable.save(entry)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.reachable.delete(key)
    }
}

/// A key's own snapshot can be read, and no list of them.
#[test]
fn a_key_that_is_open_in_the_store_is_rejected_although_its_name_cannot_be_listed() {
    let store = Partial::default();
    group("hosts", &store.reachable).get_or_create("bad").unwrap().force_open();
    let hosts = group("hosts", &store);
    let layer = KeyedCircuitBreakerLayer::by_key(hosts, |key: &&'static str| Some((*key).into()));
    let service = layer.layer(service_fn(async |_: &'static str| Ok::<_, Infallible>(())));
    let call = |key| block_on(service.clone().oneshot(key));
    eventually("it is rejected", || call("bad").is_err());
    assert!(call("good").is_ok());
}

#[test]
fn what_can_be_reached_is_read_once_and_the_rest_is_tried_less_and_less_often() {
    let store = Partial::default();
    group("hosts", &store.reachable).get_or_create("bad").unwrap().force_open();
    let hosts = group("hosts", &store);
    assert!(hosts.is_empty());
    store.log.lock().unwrap().can_reach = true;
    eventually("it is restored", || {
        hosts.get("bad").is_some_and(|bad| bad.state() == State::ForcedOpen)
    });
    eventually("it is tried four times", || store.log.lock().unwrap().attempts.len() >= 4);
    let log = store.log.lock().unwrap();
    assert_eq!(log.reached, 1);
    let pause = |number: usize| log.attempts[number + 1] - log.attempts[number];
    assert!(pause(0) >= Duration::from_secs(1));
    assert!(pause(1) >= Duration::from_secs(2));
    assert!(pause(2) >= Duration::from_secs(4));
}
