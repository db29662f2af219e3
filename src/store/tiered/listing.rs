//! All snapshots of both stores, merged when the first page is asked for.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
    time::{Duration, Instant},
};

use super::{far::Far, merge};
use crate::{
    clock::wall,
    store::{error::StoreError, state_store::StateStore},
};

const PAGE: usize = 1024;

/// A reader that asks for no page for this long has given up.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What was read, in the order of the keys. Several readers may be reading its pages.
pub(super) struct Listing {
    entries: BTreeMap<String, Vec<u8>>,
    last_used: Instant,
}

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
                let merged = merge::merge(all.remove(&key), Some(value), now);
                // An empty value is asked for alone: then a damaged one is kept aside.
                let value = merged.damaged.map_or(merged.value, |_| Some(Vec::new()));
                all.extend(value.map(|value| (key, value)));
            }
            if is_last {
                break;
            }
        }
        Ok(Self { entries: all, last_used: Instant::now() })
    }

    /// The entries after this key.
    pub(super) fn page(&mut self, after: Option<&str>, limit: usize) -> Vec<(String, Vec<u8>)> {
        self.last_used = Instant::now();
        let start = after.map_or(Unbounded, Excluded);
        let page = self.entries.range::<str, _>((start, Unbounded)).take(limit);
        page.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Whether its readers have given up before the last page.
    pub(super) fn is_abandoned(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_used) >= LONGEST_PAUSE
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
