//! All snapshots of both stores, merged when the first page is asked for.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

use super::{far::Far, merge};
use crate::{
    clock::wall,
    store::{error::StoreError, state_store::StateStore},
};

const PAGE: usize = 1024;

/// What was read, in the order of the keys. Each page that is read is gone from here.
#[derive(Default)]
pub(super) struct Listing(BTreeMap<String, Vec<u8>>);

impl Listing {
    pub(super) fn read(near: &dyn StateStore, far: &Far) -> Result<Self, StoreError> {
        // An error hides nothing: each key is then asked for alone, and read from the far store.
        // What the far store lists alone would say that a key which it does not hold is new.
        let mut all: BTreeMap<_, _> = read_all(near)?.into_iter().collect();
        let now = wall();
        let mut after: Option<String> = None;
        loop {
            let from = after.clone();
            // The near store answers when the far one does not.
            let Some(page) = far.read(move |store| store.load_page(from.as_deref(), PAGE)) else {
                break;
            };
            let is_last = page.len() < PAGE;
            after = page.last().map(|(key, _)| key.clone());
            for (key, value) in page {
                let near = all.remove(&key);
                all.extend(merge::winner(near, Some(value), now).map(|value| (key, value)));
            }
            if is_last {
                break;
            }
        }
        Ok(Self(all))
    }

    /// The entries after this key. Those before them are not kept.
    pub(super) fn page(&mut self, after: Option<&str>, limit: usize) -> Vec<(String, Vec<u8>)> {
        let start = after.map_or(Unbounded, Excluded);
        let keys: Vec<_> = self
            .0
            .range::<str, _>((start, Unbounded))
            .take(limit)
            .map(|(key, _)| key.clone())
            .collect();
        keys.into_iter().filter_map(|key| self.0.remove_entry(&key)).collect()
    }
}

fn read_all(store: &dyn StateStore) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    loop {
        let after = all.last().map(|(key, _)| key.as_str());
        let page = store.load_page(after, PAGE)?;
        let is_last = page.len() < PAGE;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}
