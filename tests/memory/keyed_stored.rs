//! The memory of many open breakers with a store: see `KeyedBreakersBuilder::max_breakers`.
//!
//! Each is measured in a process of its own, which cannot reuse what another test has given back.

use std::time::Duration;

use tower_breaker::{
    KeyedBreakers, MemoryStore, StateStore,
    store::{SaveEntry, StoreError},
};

use super::{
    attack::resident_kilobytes,
    keyed::open,
    support::child::{Role, RoleResult, argument, say},
};

pub(crate) const OPENER: &str = "opener";

const KEYS: usize = 100_000;

/// Says by how many bytes the process grows for each of many open breakers.
pub(crate) fn open_all() -> RoleResult {
    let each = if argument("STORE") == "nowhere" {
        resident_for_each(&Nowhere)
    } else {
        let store = MemoryStore::new();
        let each = resident_for_each(&store);
        assert_eq!(store.load_page(None, usize::MAX)?.len(), KEYS);
        each
    };
    say(&each.to_string());
    Ok(())
}

fn resident_for_each(store: &(impl StateStore + Clone)) -> usize {
    let before = resident_kilobytes();
    let builder = KeyedBreakers::builder("keys").max_breakers(KEYS).store(store.clone());
    let keys = builder.build().unwrap();
    open(&keys, KEYS);
    tower_breaker::flush_all(Duration::from_secs(60)).unwrap();
    assert_eq!(keys.len(), KEYS);
    1024 * resident_kilobytes().saturating_sub(before) / KEYS
}

fn check(store: &str, most: usize) {
    let mut process = Role::new(OPENER).argument("STORE", store).start();
    let each: usize = process.line().expect("an answer").parse().unwrap();
    println!("{store}: {each} bytes");
    assert!((500..=most).contains(&each), "{each} bytes");
}

#[test]
fn a_hundred_thousand_open_breakers_with_a_store_are_bounded_too() {
    check("nowhere", 3000);
}

/// With the snapshots, which are in memory as well.
#[test]
fn a_hundred_thousand_open_breakers_and_their_snapshots_are_bounded_too() {
    check("memory", 5000);
}

/// Keeps nothing.
#[derive(Clone)]
struct Nowhere;

impl StateStore for Nowhere {
    fn load(&self, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    fn load_page(&self, _: Option<&str>, _: usize) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        Ok(Vec::new())
    }

    fn save(&self, _: &SaveEntry) -> Result<(), StoreError> {
        Ok(())
    }

    fn delete(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
}
