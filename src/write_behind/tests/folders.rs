//! The writer on folders that are held by others or removed.
#![cfg(feature = "sled")]

use std::{fs, time::Duration};

use super::fakes::{Breaker, LONG, Settings, attach, patient, until};
use crate::{
    history::HistoryQuery,
    store::{FileStore, SledStore},
};

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
    until("it is noticed", || a.announced() == [false, true]);
    first.flush_blocking(LONG).unwrap();
    assert!(second.health().is_healthy());
    drop((first, second));
    let store = SledStore::open(&folder).unwrap();
    let (a, b) = (Breaker::new("-"), Breaker::new("-"));
    let _first = attach(&store, "a", &a, &patient());
    let _second = attach(&store, "b", &b, &patient());
    assert_eq!((a.state().as_str(), b.state().as_str()), ("a, changed", "b"));
}

/// A store reports a removed folder once, to the call that comes first.
#[tokio::test]
async fn a_loss_that_a_history_request_meets_is_announced_and_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let store = FileStore::open(&folder).unwrap();
    let breakers = [Breaker::new("a"), Breaker::new("b")];
    let a = attach(&store, "a", &breakers[0], &patient());
    let b = attach(&store, "b", &breakers[1], &patient());
    a.flush().await.unwrap();
    b.flush().await.unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let error = a.history(HistoryQuery::default()).await.unwrap_err();
    assert!(error.to_string().contains("removed"), "{error}");
    until("both are saved again", || {
        folder.join("a.json").exists() && folder.join("b.json").exists()
    });
    until("it is announced", || {
        breakers.iter().all(|breaker| breaker.announced() == [false, true])
    });
}

#[test]
fn a_loss_that_a_sweep_meets_is_announced_and_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let store = FileStore::open(&folder).unwrap();
    let breaker = Breaker::new("a");
    let sweep = (Duration::from_millis(20), Duration::from_millis(20));
    let attached = attach(&store, "a", &breaker, &Settings { sweep, ..patient() });
    attached.flush_blocking(LONG).unwrap();
    fs::rename(&folder, dir.path().join("moved")).unwrap();
    until("it is saved again", || folder.join("a.json").exists());
    until("it is announced", || breaker.announced() == [false, true]);
}
