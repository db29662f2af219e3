use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{StateStore, StoreError};

/// A store in memory, for tests and for breakers that are built anew within one process. Clones
/// share what they hold.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    values: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn values(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for MemoryStore {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.values().get(key).cloned())
    }

    fn load_all(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let pair = |(key, value): (&String, &Vec<u8>)| (key.clone(), value.clone());
        Ok(self.values().iter().map(pair).collect())
    }

    fn save(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.values().insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.values().remove(key);
        Ok(())
    }

    fn instance(&self) -> usize {
        Arc::as_ptr(&self.values).addr()
    }
}
