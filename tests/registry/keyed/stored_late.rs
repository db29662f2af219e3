//! A group whose store cannot be read when it is built.

use std::time::Duration;

use tower_breaker::{MemoryStore, SledStore, State, store::Tiered};

use super::stored::group;
use crate::support::{
    sick_store::{SickStore, Symptom},
    wait::eventually,
};

#[test]
fn a_store_that_fails_at_the_start_is_restored_from_once_it_works() {
    let store = SickStore::default();
    group("hosts", &store).get_or_create("bad").unwrap().force_open();
    store.show(Symptom::Fails);
    let hosts = group("hosts", &store);
    assert!(hosts.is_empty());
    store.heal();
    // Without a call of its key.
    eventually("it is restored", || {
        hosts.get("bad").is_some_and(|bad| bad.state() == State::ForcedOpen)
    });
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
