//! The writer on sled folders that are held, removed or damaged.
#![cfg(feature = "sled")]

use std::fs;

use super::fakes::{Breaker, LONG, attach, patient, until};
use crate::store::SledStore;

#[test]
fn the_folder_is_free_once_the_last_breaker_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..10 {
        let store = SledStore::open(dir.path()).unwrap();
        let breaker = Breaker::new("closed");
        let attached = attach(&store, "a", &breaker, &patient());
        drop(store);
        assert!(attached.health().is_healthy(), "round {round}: {}", attached.health());
        if round > 0 {
            assert_eq!(breaker.state(), format!("round {}", round - 1));
        }
        breaker.change_and_mark(format!("round {round}"), &attached.marker(), true);
    }
}

#[test]
fn a_folder_is_taken_over_from_the_breaker_that_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let old = Breaker::new("closed");
    let going = attach(&SledStore::open(dir.path()).unwrap(), "a", &old, &patient());
    let new = Breaker::new("closed");
    let coming = attach(&SledStore::open(dir.path()).unwrap(), "a", &new, &patient());
    assert!(coming.health().to_string().contains("held by another process"), "{}", coming.health());
    old.change("open");
    drop(going);
    until("it is taken over", || coming.health().is_healthy());
    assert_eq!(new.state(), "open");
    coming.flush_blocking(LONG).unwrap();
}

#[test]
fn a_removed_folder_is_created_again_with_every_breaker() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let store = SledStore::open(&folder).unwrap();
    let (a, b) = (Breaker::new("a"), Breaker::new("b"));
    let first = attach(&store, "a", &a, &patient());
    let second = attach(&store, "b", &b, &patient());
    drop(store);
    first.flush_blocking(LONG).unwrap();
    second.flush_blocking(LONG).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    a.change_and_mark("a, changed", &first.marker(), true);
    until("it was noticed", || a.told() == [false, true]);
    first.flush_blocking(LONG).unwrap();
    assert!(second.health().is_healthy());
    drop((first, second));
    let store = SledStore::open(&folder).unwrap();
    let (a, b) = (Breaker::new("-"), Breaker::new("-"));
    let _first = attach(&store, "a", &a, &patient());
    let _second = attach(&store, "b", &b, &patient());
    assert_eq!((a.state().as_str(), b.state().as_str()), ("a, changed", "b"));
}
