//! A store that forgets when the process ends.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Bound::{Excluded, Unbounded},
    sync::{Arc, Mutex},
};

use super::{HistoryRecord, HistoryStore, SaveEntry, StateStore, StoreError};
use crate::sync::std_lock as lock;

/// Keeps snapshots and histories in this process's memory. Clones share what they hold.
///
/// For tests, and for state that breakers of one process hand on to each other: a breaker that is built on the
/// store, with the name of one that is gone, goes on where that one stopped.
///
/// ```
/// use tower_breaker::store::{MemoryStore, SaveEntry, StateStore};
///
/// let store = MemoryStore::new();
/// let same = store.clone();
/// store.save(&SaveEntry::new("key", "value"))?;
/// assert_eq!(same.load("key")?.as_deref(), Some(b"value".as_slice()));
/// # Ok::<(), tower_breaker::store::StoreError>(())
/// ```
#[derive(Clone, Default)]
pub struct MemoryStore {
    shelves: Arc<Mutex<Shelves>>,
    label: Option<Arc<str>>,
}

#[derive(Default)]
struct Shelves {
    entries: BTreeMap<String, Vec<u8>>,
    histories: BTreeMap<String, BTreeMap<u64, Vec<u8>>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses the store's [label](StateStore::label) in metrics, in place of `memory`.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.label = Some(label.into());
        self
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shelves = lock(&self.shelves);
        f.debug_struct("MemoryStore")
            .field("label", &self.label())
            .field("entries", &shelves.entries.len())
            .field("histories", &shelves.histories.len())
            .finish()
    }
}

impl StateStore for MemoryStore {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(lock(&self.shelves).entries.get(key).cloned())
    }

    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let shelves = lock(&self.shelves);
        let start = after.map_or(Unbounded, Excluded);
        let page = shelves.entries.range::<str, _>((start, Unbounded)).take(limit);
        Ok(page.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        lock(&self.shelves).entries.insert(entry.key.clone(), entry.value.clone());
        Ok(())
    }

    fn save_all(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        let entries = entries.iter().map(|entry| (entry.key.clone(), entry.value.clone()));
        lock(&self.shelves).entries.extend(entries);
        Ok(())
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        lock(&self.shelves).entries.remove(key);
        Ok(())
    }

    fn history(&self) -> Option<&dyn HistoryStore> {
        Some(self)
    }

    fn id(&self) -> usize {
        Arc::as_ptr(&self.shelves).addr()
    }

    fn label(&self) -> &str {
        self.label.as_deref().unwrap_or("memory")
    }
}

impl HistoryStore for MemoryStore {
    fn append(&self, key: &str, records: &[HistoryRecord]) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        let mut shelves = lock(&self.shelves);
        let history = shelves.histories.entry(key.to_owned()).or_default();
        history.extend(records.iter().map(|record| (record.id, record.bytes.clone())));
        Ok(())
    }

    fn load_newest(
        &self,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>, StoreError> {
        let shelves = lock(&self.shelves);
        let Some(history) = shelves.histories.get(key) else { return Ok(Vec::new()) };
        let end = before.map_or(Unbounded, Excluded);
        let newest = history.range((Unbounded, end)).rev().take(limit);
        Ok(newest.map(|(id, bytes)| HistoryRecord::new(*id, bytes.as_slice())).collect())
    }

    fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        let shelves = lock(&self.shelves);
        let start = after.map_or(Unbounded, Excluded);
        let keys = shelves.histories.range::<str, _>((start, Unbounded));
        Ok(keys.take(limit).map(|(key, _)| key.clone()).collect())
    }

    fn trim(&self, key: &str, older_than: u64, keep: usize) -> Result<(), StoreError> {
        let mut shelves = lock(&self.shelves);
        let Some(history) = shelves.histories.get_mut(key) else { return Ok(()) };
        *history = history.split_off(&older_than);
        while history.len() > keep {
            history.pop_first();
        }
        if history.is_empty() {
            shelves.histories.remove(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_one_store_and_others_are_not() {
        let store = MemoryStore::new();
        assert_eq!(store.id(), store.clone().id());
        assert_ne!(store.id(), MemoryStore::new().id());
        let shared: Arc<dyn StateStore> = Arc::new(store.clone());
        assert_eq!(shared.id(), store.id(), "an Arc must not hide whose store it is");
    }

    #[test]
    fn a_saved_value_is_replaced_and_deleted() {
        let store = MemoryStore::new();
        store.save(&SaveEntry::new("a", "1")).unwrap();
        store.save_all(&[SaveEntry::new("a", "2"), SaveEntry::new("b", "3")]).unwrap();
        assert_eq!(
            store.load_page(None, 10).unwrap(),
            [("a".into(), b"2".to_vec()), ("b".into(), b"3".to_vec())]
        );
        store.delete("a").unwrap();
        store.delete("a").unwrap();
        assert_eq!(store.load("a").unwrap(), None);
    }
}
