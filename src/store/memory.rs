//! A store in memory.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Bound::{Excluded, Unbounded},
    sync::{Arc, Mutex},
};

use super::{
    entry::SaveEntry,
    error::StoreError,
    history_store::{HistoryRecord, HistoryStore},
    state_store::StateStore,
};
use crate::sync::std_lock as lock;

/// Keeps snapshots and histories in memory. Clones share their content, which is gone when the
/// process ends.
///
/// Use it in tests, and to hand state from one breaker to the next within a process: a breaker
/// built on the store continues where an earlier breaker of the same name stopped, or, if that one
/// still lives, with its current state.
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
    content: Arc<Mutex<MemoryContent>>,
    label: Option<Arc<str>>,
}

#[derive(Default)]
struct MemoryContent {
    values: BTreeMap<String, Vec<u8>>,
    histories: BTreeMap<String, BTreeMap<u64, Vec<u8>>>,
}

impl MemoryStore {
    /// Creates an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the store's [label](StateStore::label) in metrics. The default is `memory`.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.label = Some(label.into());
        self
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = lock(&self.content);
        f.debug_struct("MemoryStore")
            .field("label", &self.label())
            .field("values", &content.values.len())
            .field("histories", &content.histories.len())
            .finish()
    }
}

impl StateStore for MemoryStore {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(lock(&self.content).values.get(key).cloned())
    }

    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let content = lock(&self.content);
        let start = after.map_or(Unbounded, Excluded);
        let page = content.values.range::<str, _>((start, Unbounded)).take(limit);
        Ok(page.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        lock(&self.content).values.insert(entry.key.clone(), entry.value.clone());
        Ok(())
    }

    fn save_all(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        let entries = entries.iter().map(|entry| (entry.key.clone(), entry.value.clone()));
        lock(&self.content).values.extend(entries);
        Ok(())
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        lock(&self.content).values.remove(key);
        Ok(())
    }

    fn history(&self) -> Option<&dyn HistoryStore> {
        Some(self)
    }

    fn id(&self) -> usize {
        Arc::as_ptr(&self.content).addr()
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
        let mut content = lock(&self.content);
        let history = content.histories.entry(key.to_owned()).or_default();
        history.extend(records.iter().map(|record| (record.id, record.bytes.clone())));
        Ok(())
    }

    fn load_newest(
        &self,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>, StoreError> {
        let content = lock(&self.content);
        let Some(history) = content.histories.get(key) else { return Ok(Vec::new()) };
        let end = before.map_or(Unbounded, Excluded);
        let newest = history.range((Unbounded, end)).rev().take(limit);
        Ok(newest.map(|(id, bytes)| HistoryRecord::new(*id, bytes.as_slice())).collect())
    }

    fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        let content = lock(&self.content);
        let start = after.map_or(Unbounded, Excluded);
        let keys = content.histories.range::<str, _>((start, Unbounded));
        Ok(keys.take(limit).map(|(key, _)| key.clone()).collect())
    }

    fn trim(&self, key: &str, older_than: u64, keep: usize) -> Result<(), StoreError> {
        let mut content = lock(&self.content);
        let Some(history) = content.histories.get_mut(key) else { return Ok(()) };
        *history = history.split_off(&older_than);
        while history.len() > keep {
            history.pop_first();
        }
        if history.is_empty() {
            content.histories.remove(key);
        }
        Ok(())
    }
}
