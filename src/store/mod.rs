//! Where snapshots live: the [`StateStore`] trait and the stores that come with the crate.
//!
//! A store maps keys to bytes and knows nothing of circuit breakers. It is only ever called from a thread of
//! its own, never on a request's way, so its methods simply block.
//!
//! | store | feature | for |
//! |---|---|---|
//! | [`SledStore`] | `sled` (on by default) | one server, state that survives restarts and kills |
//! | [`FileStore`] | | the same for a few breakers, as JSON files to read with `cat` |
//! | [`MemoryStore`] | | tests, and breakers that come and go within one process |
//!
//! # A store of your own
//!
//! Implement [`StateStore`]. Three methods would be enough for a toy; all that matters for a real one is that
//! [`save`](StateStore::save) returns only once the value is durable, and that errors say what to do. The
//! methods that keep a history have defaults, which keep none.
//!
//! ```
//! use std::{collections::HashMap, sync::Mutex};
//! use tower_breaker::store::{StateStore, StoreError};
//!
//! #[derive(Default)]
//! struct Shelf(Mutex<HashMap<String, Vec<u8>>>);
//!
//! impl Shelf {
//!     fn map(&self) -> Result<std::sync::MutexGuard<'_, HashMap<String, Vec<u8>>>, StoreError> {
//!         self.0.lock().map_err(|_| StoreError::Other("a thread panicked while it held the shelf".into()))
//!     }
//! }
//!
//! impl StateStore for Shelf {
//!     fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
//!         Ok(self.map()?.get(key).cloned())
//!     }
//!     fn load_all(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
//!         Ok(self.map()?.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
//!     }
//!     fn save(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
//!         self.map()?.insert(key.to_owned(), value.to_owned());
//!         Ok(())
//!     }
//!     fn delete(&self, key: &str) -> Result<(), StoreError> {
//!         self.map()?.remove(key);
//!         Ok(())
//!     }
//! }
//! ```

mod error;
mod file;
mod memory;
mod path;
mod record;
#[cfg(feature = "sled")]
mod sled;

use std::sync::Arc;

pub use crate::{error::FlushError, health::StoreHealth};
pub use error::StoreError;
pub use file::FileStore;
pub use memory::MemoryStore;
pub use record::HistoryRecord;
#[cfg(feature = "sled")]
#[cfg_attr(docsrs, doc(cfg(feature = "sled")))]
pub use sled::SledStore;

/// Keeps values under keys, durably; and for each key a history, which is a list of records in the order of
/// their ids. The two know nothing of each other: a key may have either, both or none.
///
/// Every method may block, for as long as a disk or a network takes: the crate calls them from a thread that
/// serves nothing else, and copes with one that never returns. Keys are any UTF-8; values are opaque bytes.
/// A method that panics is treated as one that failed.
pub trait StateStore: Send + Sync + 'static {
    /// The value under `key`, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be known what is there. A store must never answer `None` for "could not
    /// look": the breaker would then write over what it did not see.
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Every key with its value, in no particular order.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if not all of them could be read.
    fn load_all(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError>;

    /// About `limit` keys with their values: those that come after `after`, in an order of the store's choice
    /// that is the same at each call. Fewer than `limit` are the last. So all of them can be gone through
    /// without holding all of them at once.
    ///
    /// The default reads all, and gives all that come after `after`, in the order of their bytes.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if not all of them could be read.
    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let _ = limit;
        let mut entries = self.load_all()?;
        entries.retain(|(key, _)| after.is_none_or(|after| key.as_str() > after));
        entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(entries)
    }

    /// Puts `value` under `key`, in place of what was there. Once this returns, the value is durable.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the value may not be durable. The caller tries again later, with a newer value.
    fn save(&self, key: &str, value: &[u8]) -> Result<(), StoreError>;

    /// Puts many values at once; durable once this returns. The default saves one after the other.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if any of them may not be durable. The caller then saves all of them again.
    fn save_all(&self, entries: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        entries.iter().try_for_each(|(key, value)| self.save(key, value))
    }

    /// Removes `key`. Removing what is not there is no error.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the key may still be there.
    fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// Adds records to the history of `key`; durable once this returns. One whose id is there already takes the
    /// other's place: a caller who was told of an error adds the same records again.
    ///
    /// The default keeps nothing: a store without history, which is never an error.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if any of them may not be durable.
    fn append(&self, key: &str, records: &[HistoryRecord]) -> Result<(), StoreError> {
        let _ = (key, records);
        Ok(())
    }

    /// Adds records to many histories; durable once this returns. The default calls [`append`](Self::append) for
    /// one after the other; override it where many are as quick as one.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if any of them may not be durable. The caller then adds all of them again.
    fn append_all(&self, histories: &[(String, Vec<HistoryRecord>)]) -> Result<(), StoreError> {
        histories.iter().try_for_each(|(key, records)| self.append(key, records))
    }

    /// The newest records of `key`, the newest first: those whose id is below `before`, if that is given, and at
    /// most `limit` of them.
    ///
    /// The default has none.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be known what is there.
    fn history(
        &self,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>, StoreError> {
        let _ = (key, before, limit);
        Ok(Vec::new())
    }

    /// Keys that have at least one record: the first `limit` of those that come after `after`, in an order of
    /// the store's choice that is the same at each call. So all of them can be gone through in pages.
    ///
    /// The default has none.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be known what is there.
    fn history_keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        let _ = (after, limit);
        Ok(Vec::new())
    }

    /// Removes records of `key`: those whose id is below `older_than`, and all but the newest `keep`. This need
    /// not be durable when it returns.
    ///
    /// The default does nothing, as it has nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if any of them may still be there.
    fn trim(&self, key: &str, older_than: u64, keep: usize) -> Result<(), StoreError> {
        let _ = (key, older_than, keep);
        Ok(())
    }

    /// Tells stores apart: two handles on the same underlying store give the same number, others do not.
    ///
    /// Breakers whose stores give the same number share one writer thread. The default is the address of
    /// `self`; override it in a store that is cheap to clone, with the address of what the clones share.
    fn instance(&self) -> usize {
        std::ptr::from_ref(self).cast::<()>().addr()
    }

    /// What metrics call the store: the value of their label `store`. Asked when a breaker is built on the store, so
    /// it must not wait for anything; what the first breaker was told counts for all.
    ///
    /// A short name, one of a few in the process; never a path, and nothing that differs from one start to the next.
    /// A store around another one passes on that one's. The default is `custom`.
    #[expect(clippy::unnecessary_literal_bound, reason = "others have one of their own")]
    fn label(&self) -> &str {
        "custom"
    }
}

impl<T: StateStore + ?Sized> StateStore for Arc<T> {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).load(key)
    }

    fn load_all(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        (**self).load_all()
    }

    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        (**self).load_page(after, limit)
    }

    fn save(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        (**self).save(key, value)
    }

    fn save_all(&self, entries: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        (**self).save_all(entries)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        (**self).delete(key)
    }

    fn append(&self, key: &str, records: &[HistoryRecord]) -> Result<(), StoreError> {
        (**self).append(key, records)
    }

    fn append_all(&self, histories: &[(String, Vec<HistoryRecord>)]) -> Result<(), StoreError> {
        (**self).append_all(histories)
    }

    fn history(
        &self,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>, StoreError> {
        (**self).history(key, before, limit)
    }

    fn history_keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        (**self).history_keys(after, limit)
    }

    fn trim(&self, key: &str, older_than: u64, keep: usize) -> Result<(), StoreError> {
        (**self).trim(key, older_than, keep)
    }

    fn instance(&self) -> usize {
        (**self).instance()
    }

    fn label(&self) -> &str {
        (**self).label()
    }
}
