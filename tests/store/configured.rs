//! Stores that configurations name.

use std::fs;

use tower_breaker::{
    Breaker, State, StateStore as _,
    config::StoreConfig,
    store::{SaveEntry, StoreHealth},
};

#[test]
fn a_folder_is_shared_by_all_configurations_that_name_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    for kind in [StoreConfig::Sled, StoreConfig::Redb, StoreConfig::File] {
        let alone = kind(folder.clone());
        let tiered = |near: &StoreConfig, far: &StoreConfig| -> StoreConfig {
            format!("tiered:{near},{far}").parse().unwrap()
        };
        let stores = [
            alone.open().unwrap(),
            tiered(&alone, &StoreConfig::Memory).open().unwrap(),
            tiered(&StoreConfig::Memory, &alone).open().unwrap(),
            alone.open().unwrap(),
        ];
        for (number, store) in stores.iter().enumerate() {
            store.save(&SaveEntry::new(format!("{number}"), "value")).unwrap();
        }
        assert_eq!(stores[0].load("1").unwrap().as_deref(), Some(b"value".as_slice()));
        drop(stores);
        // A part that is open first is shared as well.
        let stores = [tiered(&alone, &StoreConfig::Memory).open().unwrap(), alone.open().unwrap()];
        for store in &stores {
            let breaker = Breaker::builder("a").store(store.clone()).build().unwrap();
            assert_eq!(breaker.store_health(), StoreHealth::Healthy);
        }
        drop(stores);
        fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn stores_in_memory_that_are_parts_of_others_are_their_own() {
    let tiered: StoreConfig = "tiered:memory,memory".parse().unwrap();
    let (alone, tiered) = (StoreConfig::Memory.open().unwrap(), tiered.open().unwrap());
    let breaker = Breaker::builder("in memory").store(tiered).build().unwrap();
    breaker.force_open();
    breaker.flush_blocking(std::time::Duration::from_secs(60)).unwrap();
    let other = Breaker::builder("in memory").store(alone).build().unwrap();
    assert_eq!(other.state(), State::Closed);
}

#[test]
fn a_store_is_not_the_far_one_of_itself() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    for kind in [StoreConfig::Sled, StoreConfig::Redb, StoreConfig::File] {
        let part = kind(folder.clone());
        let both: StoreConfig = format!("tiered:{part},{part}").parse().unwrap();
        let error = both.open().map(drop).unwrap_err();
        assert!(error.to_string().contains("are the same"), "{error}");
        // The folder is free.
        part.open().unwrap().save(&SaveEntry::new("key", "value")).unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_names_the_same_store() {
    let dir = tempfile::tempdir().unwrap();
    let (parent, link) = (dir.path().join("parent"), dir.path().join("link"));
    fs::create_dir(&parent).unwrap();
    std::os::unix::fs::symlink(&parent, &link).unwrap();
    // The folder itself is created by its first use.
    let first = StoreConfig::File(link.join("state")).open().unwrap();
    first.save(&SaveEntry::new("key", "value")).unwrap();
    let second = StoreConfig::File(parent.join("state")).open().unwrap();
    assert_eq!(second.load("key").unwrap().as_deref(), Some(b"value".as_slice()));
    assert_eq!(first.id(), second.id());
}
