//! Where snapshots are stored: the [`StateStore`] trait and the stores that come with the crate.
//!
//! A store maps keys to bytes and has no knowledge of circuit breakers. It is only called from a
//! thread of its own, never from a request's path, so its methods simply block.
//!
//! | store | feature | use it for |
//! |---|---|---|
//! | [`SledStore`] | `sled` (default) | one server; state survives restarts, kills and power failures |
//! | [`RedbStore`] | `redb` | the same without threads of its own |
//! | [`FileStore`] | | the same for a few breakers, as JSON files that `cat` can read |
//! | [`RedisStore`] | `redis` | state survives the loss of a host |
//! | [`Tiered`] | | a near store that answers, and a far one that survives the host |
//! | [`MemoryStore`] | | tests, and breakers that come and go within one process |
//!
//! # Which store?
//!
//! | | `SledStore` | `RedbStore` | `FileStore` |
//! |---|---|---|---|
//! | what is acknowledged survives a kill | yes | yes | yes |
//! | ... and a power failure (emulated on ext4, xfs and btrfs) | yes | yes | yes |
//! | full or read-only disk at the start | a copy answers reads | is read | is read |
//! | checksums | of each record in the log | of each value | none |
//! | threads | 7 to 8 | none | none |
//! | a store that is opened in a forked process | fails if sled was used before | works | works |
//! | ... and one that was used before the fork | fails | fails | fails |
//! | disk, 1 breaker | 0.5 MB | 0.1 MB | 1 file |
//! | disk, 100,000 breakers | 64 MB | 69 MB | 410 MB |
//! | memory, 1 and 100,000 breakers | 1.5 and 52 MB | 1.1 and 19 MB | 0.4 and 12 MB |
//! | start, 1 and 100,000 breakers | 29 and 480 ms | 15 and 130 ms | 8 and 1,570 ms |
//! | save, 1 breaker: median, 99% | 3.8, 10 ms | 4.4, 23 ms | 6.9, 33 ms |
//! | save, 100,000 breakers: median, 99% | 2.4, 13 ms | 0.4, 1 ms | 2.4, 11 ms |
//!
//! Memory, start and save are from a release build on a busy virtual machine (2 cores, load average
//! 6 to 7, ext4, 2026-11-25); those of one breaker are medians of 7 runs. Saves, and the start with
//! one breaker, mostly wait for the disk to sync, which other programs kept busy: the same save
//! took from 0.2 to 10 ms between runs. So compare the orders of magnitude, and measure on your own
//! machine. Start is the time to open the store and to read every snapshot; memory is what the
//! process has grown by then.
//!
//! `RedisStore` keeps state where the loss of a host does not reach it; how much of it survives the
//! crash of the server is up to the server's settings. It starts no thread, and
//! [its documentation](RedisStore) has more. `Tiered` combines it with one of the others, so that
//! starts and saves do not depend on a network.
//!
//! `FileStore` looks at every file to read one page, which is slow with many breakers.
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
mod attempts;
mod drop_budget;
mod durable;
mod entry;
mod error;
mod file;
mod history_store;
mod lock;
mod memory;
mod open;
mod path;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "redis")]
pub(crate) mod redis;
mod release;
#[cfg(feature = "sled")]
mod sled;
mod state_store;
mod tiered;

pub use crate::{error::FlushError, health::StoreHealth};
pub(crate) use attempts::Attempts;
pub(crate) use drop_budget::{DropWait, LONGEST_DROP};
pub use entry::SaveEntry;
pub use error::StoreError;
pub use file::FileStore;
pub use history_store::{HistoryRecord, HistoryStore};
pub use memory::MemoryStore;
#[cfg(feature = "redb")]
#[cfg_attr(docsrs, doc(cfg(feature = "redb")))]
pub use redb::RedbStore;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use redis::{RedisCredentials, RedisStore, RedisStoreBuilder};
pub(crate) use release::drop_blocking;
#[cfg(feature = "sled")]
#[cfg_attr(docsrs, doc(cfg(feature = "sled")))]
pub use sled::SledStore;
pub use state_store::StateStore;
pub use tiered::Tiered;
