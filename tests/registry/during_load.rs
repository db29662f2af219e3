//! A store that runs a closure during a load.

use std::sync::{Arc, Mutex};

use tower_breaker::{MemoryStore, StateStore, store::StoreError};

use crate::support::pass_on::pass_on;

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
    pass_on!(load_page, save, delete);

    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let work = self.work.lock().unwrap().take();
        if let Some(work) = work {
            work();
        }
        self.inner.load(key)
    }
}
