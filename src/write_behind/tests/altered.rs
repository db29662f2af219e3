//! A store of which some operations behave otherwise.

use std::sync::Arc;

use super::fakes::Faulty;
use crate::store::{HistoryStore, SaveEntry, StateStore, StoreError};

type Load = dyn Fn(&Faulty, &str) -> Result<Option<Vec<u8>>, StoreError> + Send + Sync;
type Save = dyn Fn(&Faulty, &SaveEntry) -> Result<(), StoreError> + Send + Sync;
type Verify = dyn Fn(&Faulty) -> Result<(), StoreError> + Send + Sync;
type SaveAll = dyn Fn(&Faulty, &[SaveEntry]) -> Result<(), StoreError> + Send + Sync;

/// Calls closures in place of a store's operations. Unless one is set for batches, a batch is
/// saved one by one.
#[derive(Clone)]
pub(crate) struct Altered {
    store: Faulty,
    load: Arc<Load>,
    save: Arc<Save>,
    save_all: Option<Arc<SaveAll>>,
    verify: Arc<Verify>,
    expires_by_itself: bool,
}

impl Altered {
    pub(crate) fn of(store: &Faulty) -> Self {
        Self {
            store: store.clone(),
            load: Arc::new(Faulty::load),
            save: Arc::new(Faulty::save),
            save_all: None,
            verify: Arc::new(Faulty::verify),
            expires_by_itself: false,
        }
    }

    pub(crate) fn load(
        self,
        load: impl Fn(&Faulty, &str) -> Result<Option<Vec<u8>>, StoreError> + Send + Sync + 'static,
    ) -> Self {
        Self { load: Arc::new(load), ..self }
    }

    pub(crate) fn save(
        self,
        save: impl Fn(&Faulty, &SaveEntry) -> Result<(), StoreError> + Send + Sync + 'static,
    ) -> Self {
        Self { save: Arc::new(save), ..self }
    }

    pub(crate) fn save_all(
        self,
        save_all: impl Fn(&Faulty, &[SaveEntry]) -> Result<(), StoreError> + Send + Sync + 'static,
    ) -> Self {
        Self { save_all: Some(Arc::new(save_all)), ..self }
    }

    pub(crate) fn verify(
        self,
        verify: impl Fn(&Faulty) -> Result<(), StoreError> + Send + Sync + 'static,
    ) -> Self {
        Self { verify: Arc::new(verify), ..self }
    }

    /// As a store that several processes share, which is not swept.
    pub(crate) fn expires_by_itself(self) -> Self {
        Self { expires_by_itself: true, ..self }
    }
}

impl StateStore for Altered {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        (self.load)(&self.store, key)
    }

    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.store.load_page(after, limit)
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        (self.save)(&self.store, entry)
    }

    fn save_all(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        match &self.save_all {
            Some(save_all) => save_all(&self.store, entries),
            None => entries.iter().try_for_each(|entry| StateStore::save(self, entry)),
        }
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.store.delete(key)
    }

    fn history(&self) -> Option<&dyn HistoryStore> {
        self.store.history()
    }

    fn verify(&self) -> Result<(), StoreError> {
        (self.verify)(&self.store)
    }

    fn expires_by_itself(&self) -> bool {
        self.expires_by_itself
    }

    fn id(&self) -> usize {
        self.store.id()
    }
}
