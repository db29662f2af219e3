//! New names are synced before a save returns, also after a failure.

use super::*;
use crate::store::durable::faults::{fail_syncs, take_synced};

fn histories(keys: &[&str]) -> Vec<(String, Vec<HistoryRecord>)> {
    let records = || vec![HistoryRecord::new(1, b"{}".to_vec())];
    keys.iter().map(|key| (format!("circuit_breaker:{key}:history"), records())).collect()
}

/// A name that takes subfolders.
fn long_key() -> String {
    format!("circuit_breaker:{}:state", "A".repeat(60))
}

#[test]
fn a_history_is_durable_by_name_also_after_an_append_that_failed_halfway() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    fs::create_dir(dir.path().join("b+history.jsonl")).unwrap();
    store.load(STATE).unwrap();
    take_synced();
    let both = histories(&["a", "b"]);
    store.append_all(&both).unwrap_err();
    assert_eq!(take_synced(), [] as [&Path; 0]);
    store.append(&both[0].0, &both[0].1).unwrap();
    assert_eq!(take_synced(), [dir.path()]);
    store.append(&both[0].0, &both[0].1).unwrap();
    assert_eq!(take_synced(), [] as [&Path; 0], "nothing is new");
}

#[test]
fn what_could_not_be_synced_is_synced_before_the_next_change_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    store.load(STATE).unwrap();
    let both = histories(&["a"]);
    fail_syncs(true);
    store.append_all(&both).unwrap_err();
    store.append_all(&both).unwrap_err();
    fail_syncs(false);
    take_synced();
    store.append_all(&both).unwrap();
    assert_eq!(take_synced(), [dir.path()]);
    store.save(&SaveEntry::new(STATE, b"1")).unwrap();
    fail_syncs(true);
    store.delete(STATE).unwrap_err();
    fail_syncs(false);
    take_synced();
    store.delete(STATE).unwrap();
    assert_eq!(take_synced(), [dir.path()], "it is gone, but perhaps not durably");
}

#[test]
fn the_subfolders_of_a_long_name_are_synced_at_the_first_use() {
    let dir = tempfile::tempdir().unwrap();
    let long = SaveEntry::new(long_key(), b"1");
    FileStore::open(dir.path()).unwrap().save(&long).unwrap();
    take_synced();
    let store = FileStore::open(dir.path()).unwrap();
    assert!(store.load(&long.key).unwrap().is_some());
    let synced = take_synced();
    let subfolders = synced.iter().filter(|folder| folder.starts_with(dir.path()));
    assert!(subfolders.count() > 1, "a killed process may have created them: {synced:?}");
    store.load(&long.key).unwrap();
    assert_eq!(take_synced(), [] as [&Path; 0]);
    store.delete(&long.key).unwrap();
    store.save(&long).unwrap();
    assert!(take_synced().len() > 1, "it is created anew");
}
