//! A store in an embedded redb database.

mod database;
mod engine;
mod failure;
mod overlay;
mod repair;
mod tables;
#[cfg(test)]
mod tests;

use std::{fmt, iter, path::Path, slice, sync::Arc};

use self::database::Database;
use super::{
    entry::SaveEntry,
    error::StoreError,
    history_store::{HistoryRecord, HistoryStore},
    path,
    state_store::StateStore,
};

/// Keeps snapshots and histories in one file on disk, `breakers.redb` in a folder of its own, as a
/// [redb](::redb) database.
///
/// It starts no thread, so one that is opened in a forked process works there, and it opens for
/// reading on a full or read-only disk. The section [Which store?](crate::store#which-store) has
/// figures.
///
/// Clones share the database. It is opened by the first operation, not by [`open`](Self::open), and
/// belongs to this process until the last clone is dropped.
///
/// # Durability
///
/// A save returns once the value survives a kill of the process and a power failure: redb syncs the
/// file (`fdatasync`) with each commit, and the folders with its name are synced when it is
/// created.
///
/// # When the folder cannot be used
///
/// * **Held by another process** (such as the old server during a deploy): each operation returns
///   [`StoreError::Unavailable`], and the next one tries to open the folder again.
/// * **Full** or **read-only**: writes return [`StoreError::Unavailable`], and the next one tries
///   again. Reads work.
/// * **Removed or replaced while in use**: one operation returns [`StoreError::Unavailable`], and
///   the next one creates the folder again. Breakers also notice it within a second while they are
///   idle, and save everything again.
/// * **Damaged**: each value has a checksum. What can be read is copied into a new file, and the
///   damaged one is kept as `breakers.redb.corrupt-<seconds since 1970>`, with a warning in the
///   log. The newest three of these are kept.
///
/// # Examples
///
/// ```
/// use tower_breaker::store::{RedbStore, SaveEntry, StateStore};
///
/// # let dir = tempfile::tempdir()?;
/// # let folder = dir.path().join("state");
/// let store = RedbStore::open(&folder)?;
/// store.save(&SaveEntry::new("key", "value"))?;
/// drop(store);
///
/// let store = RedbStore::open(&folder)?;
/// assert_eq!(store.load("key")?.as_deref(), Some(b"value".as_slice()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RedbStore {
    database: Arc<Database>,
    label: Option<Arc<str>>,
}

impl RedbStore {
    /// Creates a store in `folder`. The folder and its parents are created when they are first
    /// needed.
    ///
    /// This only checks the path. If the folder cannot be opened now, the store keeps trying.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] if the path can never work: it is empty, or it or one of its
    /// parents is a file.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, StoreError> {
        let folder = path::absolute_folder(folder.as_ref())?;
        Ok(Self { database: Arc::new(Database::new(folder)), label: None })
    }

    /// Returns the folder, as an absolute path.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.database.folder()
    }

    /// Sets the store's [label](StateStore::label) in metrics. The default is `redb`.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.label = Some(label.into());
        self
    }
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").field("folder", &self.folder()).finish_non_exhaustive()
    }
}

impl StateStore for RedbStore {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.database.read(self.label(), |read| tables::load(read, key))
    }

    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.database.read(self.label(), |read| tables::load_page(read, after, limit))
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.save_all(slice::from_ref(entry))
    }

    fn save_all(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        self.database.write(self.label(), |write| tables::save_all(write, entries))
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.database.write(self.label(), |write| tables::delete(write, iter::once(key)))
    }

    fn delete_all(&self, keys: &[String]) -> Result<(), StoreError> {
        let keys = || keys.iter().map(String::as_str);
        self.database.write(self.label(), |write| tables::delete(write, keys()))
    }

    fn history(&self) -> Option<&dyn HistoryStore> {
        Some(self)
    }

    fn verify(&self) -> Result<(), StoreError> {
        self.database.verify()
    }

    fn last_repair(&self) -> Option<String> {
        self.database.last_repair()
    }

    fn id(&self) -> usize {
        Arc::as_ptr(&self.database).addr()
    }

    fn label(&self) -> &str {
        self.label.as_deref().unwrap_or("redb")
    }
}

impl HistoryStore for RedbStore {
    fn append(&self, key: &str, records: &[HistoryRecord]) -> Result<(), StoreError> {
        let history = iter::once((key, records));
        self.database.write(self.label(), |write| tables::append(write, history))
    }

    fn append_all(&self, histories: &[(String, Vec<HistoryRecord>)]) -> Result<(), StoreError> {
        let histories = histories.iter().map(|(key, records)| (key.as_str(), records.as_slice()));
        self.database.write(self.label(), |write| tables::append(write, histories))
    }

    fn load_newest(
        &self,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>, StoreError> {
        self.database.read(self.label(), |read| tables::load_newest(read, key, before, limit))
    }

    fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        self.database.read(self.label(), |read| tables::keys(read, after, limit))
    }

    fn trim(&self, key: &str, older_than: u64, keep: usize) -> Result<(), StoreError> {
        self.database.write(self.label(), |write| tables::trim(write, key, older_than, keep))
    }
}
