//! What is not written to the far store yet: for each key only the newest.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    mem, slice,
};

use crate::store::{
    attempts::Attempts,
    entry::SaveEntry,
    error::StoreError,
    history_store::{HistoryRecord, HistoryStore},
    state_store::StateStore,
};

/// The most records of one history that wait.
const MOST_RECORDS: usize = 500;
/// The most keys that wait, besides those of values: one for each breaker that lives.
const MOST_KEYS: usize = 20_000;

#[derive(Default)]
pub(super) struct Pending {
    values: HashMap<String, SaveEntry>,
    /// None of these keys has a value.
    deletes: HashMap<String, Removal>,
    histories: HashMap<String, BTreeMap<u64, HistoryRecord>>,
    /// Histories to remove before the records that wait are appended.
    removals: HashMap<String, Removal>,
    /// The oldest id to keep, and how many records, once the records that wait are appended.
    trims: HashMap<String, (u64, usize)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Removal {
    /// Removes whatever there is.
    Delete,
    /// Removes what this process has written.
    Discard,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
            && self.deletes.is_empty()
            && self.histories.is_empty()
            && self.removals.is_empty()
            && self.trims.is_empty()
    }

    /// The number of keys that wait.
    pub(super) fn len(&self) -> usize {
        self.values.len() + self.deletes.len() + self.histories.len()
    }

    pub(super) fn save(&mut self, entry: &SaveEntry) {
        let mut entry = entry.clone();
        if let Some(before) = self.values.get(&entry.key) {
            entry.state_changed |= before.state_changed;
        }
        self.deletes.remove(&entry.key);
        self.values.insert(entry.key.clone(), entry);
    }

    pub(super) fn delete(&mut self, key: &str) {
        self.remove(key, Removal::Delete);
    }

    pub(super) fn discard(&mut self, key: &str) {
        self.remove(key, Removal::Discard);
    }

    fn remove(&mut self, key: &str, removal: Removal) {
        self.values.remove(key);
        note(&mut self.deletes, key, removal);
    }

    pub(super) fn append(&mut self, key: &str, records: &[HistoryRecord]) {
        if records.is_empty() {
            return;
        }
        let history = self.histories.entry(key.to_owned()).or_default();
        history.extend(records.iter().map(|record| (record.id, record.clone())));
        while history.len() > MOST_RECORDS {
            history.pop_first();
        }
    }

    pub(super) fn trim(&mut self, key: &str, older_than: u64, keep: usize) {
        if keep == 0 || older_than == u64::MAX {
            return self.remove_history(key, Removal::Delete);
        }
        if let Some(history) = self.histories.get_mut(key) {
            history.retain(|id, _| *id >= older_than);
            while history.len() > keep {
                history.pop_first();
            }
            if history.is_empty() {
                self.histories.remove(key);
            }
        }
        self.trims.insert(key.to_owned(), (older_than, keep));
    }

    pub(super) fn discard_history(&mut self, key: &str) {
        self.remove_history(key, Removal::Discard);
    }

    fn remove_history(&mut self, key: &str, removal: Removal) {
        self.histories.remove(key);
        self.trims.remove(key);
        note(&mut self.removals, key, removal);
    }

    /// Whether a value waits under a key, or its removal does.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.values.contains_key(key) || self.deletes.contains_key(key)
    }

    /// Drops what can be dropped if too many keys wait, and returns whether they did. What is to
    /// be removed expires by itself; the near store has the histories. Values are never dropped.
    pub(super) fn shed(&mut self) -> bool {
        let removals = self.deletes.len() + self.removals.len() + self.trims.len();
        let is_full = removals + self.histories.len() > MOST_KEYS;
        if is_full {
            self.deletes = HashMap::new();
            self.removals = HashMap::new();
            self.trims = HashMap::new();
            if self.histories.len() > MOST_KEYS {
                self.drop_older_histories();
            }
        }
        is_full
    }

    /// Half of them, so that this is seldom done.
    fn drop_older_histories(&mut self) {
        let mut histories: Vec<_> = mem::take(&mut self.histories).into_iter().collect();
        histories.sort_unstable_by_key(|(_, records)| {
            Reverse(records.last_key_value().map(|(id, _)| *id))
        });
        self.histories = histories.into_iter().take(MOST_KEYS / 2).collect();
    }

    pub(super) fn take(&mut self) -> Self {
        mem::take(self)
    }

    /// Puts back what could not be written. What came meanwhile is newer.
    pub(super) fn put_back(&mut self, older: Self) {
        let newer = mem::replace(self, older);
        newer.values.values().for_each(|entry| self.save(entry));
        newer.deletes.iter().for_each(|(key, removal)| self.remove(key, *removal));
        newer.removals.iter().for_each(|(key, removal)| self.remove_history(key, *removal));
        for (key, records) in newer.histories {
            self.append(&key, &records.into_values().collect::<Vec<_>>());
        }
        for (key, (older_than, keep)) in newer.trims {
            self.trim(&key, older_than, keep);
        }
    }

    /// Writes everything. What is written is gone from here, also after an error.
    pub(super) fn write(&mut self, store: &dyn StateStore) -> Result<(), StoreError> {
        if !self.values.is_empty() {
            let saves: Vec<_> = self.values.values().cloned().collect();
            store.save_all(&saves)?;
            self.values.clear();
        }
        for removal in [Removal::Delete, Removal::Discard] {
            let of_this = self.deletes.iter().filter(|(_, other)| **other == removal);
            let keys: Vec<_> = of_this.map(|(key, _)| key.clone()).collect();
            removal.values(store, &keys)?;
            for key in &keys {
                self.deletes.remove(key);
            }
        }
        let Some(histories) = store.history() else {
            self.forget_histories();
            return Ok(());
        };
        while let Some((key, removal)) = first(&self.removals) {
            removal.history(histories, &key)?;
            self.removals.remove(&key);
        }
        if !self.histories.is_empty() {
            let all = self.histories.iter();
            let all: Vec<_> = all
                .map(|(key, records)| (key.clone(), records.values().cloned().collect()))
                .collect();
            histories.append_all(&all)?;
            self.histories.clear();
        }
        while let Some((key, (older_than, keep))) = first(&self.trims) {
            histories.trim(&key, older_than, keep)?;
            self.trims.remove(&key);
        }
        Ok(())
    }

    /// Writes one key at a time, where all at once fails for a reason that may lie in one of them.
    /// Returns the first error; without one, nothing is left.
    pub(super) fn write_each(&mut self, store: &dyn StateStore) -> Result<(), StoreError> {
        let (mut attempts, mut first_error) = (Attempts::default(), None);
        let mut fails = |call: &dyn Fn() -> Result<(), StoreError>| {
            !attempts.works(call, |error| {
                first_error.get_or_insert(error);
            })
        };
        self.values.retain(|_, entry| fails(&|| store.save(entry)));
        self.deletes.retain(|key, removal| fails(&|| removal.values(store, slice::from_ref(key))));
        let Some(histories) = store.history() else {
            self.forget_histories();
            return first_error.map_or(Ok(()), Err);
        };
        self.removals.retain(|key, removal| fails(&|| removal.history(histories, key)));
        self.histories.retain(|key, records| {
            let records: Vec<_> = records.values().cloned().collect();
            let must_wait = self.removals.contains_key(key);
            must_wait || fails(&|| histories.append(key, &records))
        });
        self.trims.retain(|key, (older_than, keep)| {
            let must_wait = self.removals.contains_key(key) || self.histories.contains_key(key);
            must_wait || fails(&|| histories.trim(key, *older_than, *keep))
        });
        first_error.map_or(Ok(()), Err)
    }

    /// The store keeps none.
    fn forget_histories(&mut self) {
        self.histories.clear();
        self.removals.clear();
        self.trims.clear();
    }
}

impl Removal {
    fn values(self, store: &dyn StateStore, keys: &[String]) -> Result<(), StoreError> {
        match self {
            _ if keys.is_empty() => Ok(()),
            Self::Delete => store.delete_all(keys),
            Self::Discard => store.discard_all(keys),
        }
    }

    fn history(self, store: &dyn HistoryStore, key: &str) -> Result<(), StoreError> {
        match self {
            Self::Delete => store.trim(key, u64::MAX, 0),
            Self::Discard => store.discard(key),
        }
    }
}

/// Of two removals of one key, the one that removes more counts.
fn note(removals: &mut HashMap<String, Removal>, key: &str, removal: Removal) {
    if matches!(removal, Removal::Delete) || !removals.contains_key(key) {
        removals.insert(key.to_owned(), removal);
    }
}

fn first<T: Copy>(of: &HashMap<String, T>) -> Option<(String, T)> {
    of.iter().next().map(|(key, value)| (key.clone(), *value))
}

#[cfg(test)]
mod tests;
