//! A store that runs a closure during a load.

use std::sync::{Arc, Mutex};

use tower_breaker::{
    MemoryStore, StateStore,
    store::{SaveEntry, StoreError},
};

type Work = Box<dyn FnOnce() + Send>;

/// A store in memory. The first load after [`run_once`](Self::run_once) runs the closure.
#[derive(Clone, Default)]
pub(crate) struct DuringLoad {
    inner: MemoryStore,
    work: Arc<Mutex<Option<Work>>>,
}

impl DuringLoad {
    pub(crate) fn run_once(&self, work: impl FnOnce() + Send + 'static) {
        *self.work.lock().unwrap() = Some(Box::new(work));
    }
}

impl StateStore for DuringLoad {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let work = self.work.lock().unwrap().take();
        if let Some(work) = work {
            work();
        }
        self.inner.load(key)
    }

    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.inner.load_page(after, limit)
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.inner.save(entry)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key)
    }
}
