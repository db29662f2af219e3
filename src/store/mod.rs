//! Where snapshots are stored: the [`StateStore`] trait and the stores that come with the crate.
//!
//! A store maps keys to bytes and has no knowledge of circuit breakers. It is only called from a
//! thread of its own, never from a request's path, so its methods simply block.
//!
//! | store | feature | use it for |
//! |---|---|---|
//! | [`SledStore`] | `sled` (default) | one server; state survives restarts and kills |
//! | [`RedbStore`] | `redb` | the same, without threads of its own |
//! | [`FileStore`] | | the same for a few breakers, as JSON files that `cat` can read |
//! | [`MemoryStore`] | | tests, and breakers that come and go within one process |
//!
//! # Implementing a store
//!
//! Implement [`StateStore`]: four methods are required, and the other defaults fit most stores.
//! [`save`](StateStore::save) must return only once the value is durable, and errors should tell an
//! operator what to do. To keep histories too, implement [`HistoryStore`] and return it from
//! [`StateStore::history`].
//!
//! ```
//! use std::{
//!     collections::BTreeMap,
//!     ops::Bound::{Excluded, Unbounded},
//!     sync::{Mutex, MutexGuard, PoisonError},
//! };
//! use tower_breaker::store::{SaveEntry, StateStore, StoreError};
//!
//! /// A map in memory. A real store writes to a disk or a server before `save` returns.
//! #[derive(Default)]
//! struct MapStore(Mutex<BTreeMap<String, Vec<u8>>>);
//!
//! impl MapStore {
//!     fn map(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
//!         self.0.lock().unwrap_or_else(PoisonError::into_inner)
//!     }
//! }
//!
//! impl StateStore for MapStore {
//!     fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
//!         Ok(self.map().get(key).cloned())
//!     }
//!
//!     fn load_page(
//!         &self,
//!         after: Option<&str>,
//!         limit: usize,
//!     ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
//!         let map = self.map();
//!         let after = after.map_or(Unbounded, Excluded);
//!         let page = map.range::<str, _>((after, Unbounded)).take(limit);
//!         Ok(page.map(|(key, value)| (key.clone(), value.clone())).collect())
//!     }
//!
//!     fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
//!         self.map().insert(entry.key.clone(), entry.value.clone());
//!         Ok(())
//!     }
//!
//!     fn delete(&self, key: &str) -> Result<(), StoreError> {
//!         self.map().remove(key);
//!         Ok(())
//!     }
//! }
//!
//! let store = MapStore::default();
//! store.save(&SaveEntry::new("key", "value"))?;
//! assert_eq!(store.load("key")?.as_deref(), Some(b"value".as_slice()));
//! # Ok::<(), StoreError>(())
//! ```

#[cfg(any(feature = "redb", feature = "sled"))]
mod aside;
mod durable;
mod entry;
mod error;
mod file;
mod history_store;
mod memory;
mod open;
mod path;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "sled")]
mod sled;
mod state_store;

pub use crate::{error::FlushError, health::StoreHealth};
pub use entry::SaveEntry;
pub use error::StoreError;
pub use file::FileStore;
pub use history_store::{HistoryRecord, HistoryStore};
pub use memory::MemoryStore;
#[cfg(feature = "redb")]
#[cfg_attr(docsrs, doc(cfg(feature = "redb")))]
pub use redb::RedbStore;
#[cfg(feature = "sled")]
#[cfg_attr(docsrs, doc(cfg(feature = "sled")))]
pub use sled::SledStore;
pub use state_store::StateStore;
