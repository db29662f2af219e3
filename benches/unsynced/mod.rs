//! sled without the `fdatasync` that `SledStore` adds: what was acknowledged survives a kill, and
//! not a power failure. For the rows that show what the sync costs.

use std::{
    ops::Bound::{Excluded, Unbounded},
    path::Path,
    sync::Arc,
};

use sled::{Batch, Db};
use tower_breaker::store::{SaveEntry, StateStore, StoreError};

/// Clones share the database.
#[derive(Clone)]
pub(crate) struct Unsynced(Arc<Db>);

impl Unsynced {
    /// Opens a folder with the settings of `SledStore`.
    pub(crate) fn open(folder: &Path) -> Self {
        let config = sled::Config::new().path(folder).cache_capacity(16 << 20);
        Self(Arc::new(config.flush_every_ms(None).open().expect("a database")))
    }
}

fn failed(error: sled::Error) -> StoreError {
    StoreError::Other(error.into())
}

impl StateStore for Unsynced {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(key).map_err(failed)?.map(|value| value.to_vec()))
    }

    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let start = after.map_or(Unbounded, |after| Excluded(after.as_bytes()));
        let entries = self.0.range::<&[u8], _>((start, Unbounded)).take(limit);
        let entries = entries.map(|entry| {
            let (key, value) = entry.map_err(failed)?;
            Ok((String::from_utf8_lossy(&key).into_owned(), value.to_vec()))
        });
        entries.collect()
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.save_all(std::slice::from_ref(entry))
    }

    fn save_all(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        for chunk in entries.chunks(1000) {
            let mut batch = Batch::default();
            for entry in chunk {
                batch.insert(entry.key.as_bytes(), entry.value.as_slice());
            }
            self.0.apply_batch(batch).map_err(failed)?;
        }
        self.0.flush().map(drop).map_err(failed)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.0.remove(key).map_err(failed)?;
        self.0.flush().map(drop).map_err(failed)
    }

    fn id(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}
