//! A store in embedded sled databases.

mod database;
mod disk;
mod engine;
mod failure;
mod folder;
mod handles;
mod history;
mod large;
mod lost_sync;
mod pieces;
mod pool;
mod read_copy;
mod repair;
mod space;
// Some of the faults need names that only Unix has.
#[cfg(all(test, unix))]
mod tests;
mod unreadable;
mod values;

use std::{fmt, iter, path::Path, sync::Arc};

use ::sled::{Db, Error as SledError};

use self::{
    database::Database,
    pieces::{Damaged, length_in_place},
};
use super::{
    entry::SaveEntry,
    error::StoreError,
    history_store::{HistoryRecord, HistoryStore},
    path,
    state_store::StateStore,
};

/// Keeps snapshots and histories in a folder on disk, in two [sled](::sled) databases. The
/// database of the histories is in the subfolder `history`, which is created with the first record.
///
/// Clones share their databases. The folder is opened by the first operation, not by
/// [`open`](Self::open), and belongs to this process until the last clone is dropped.
///
/// # Durability
///
/// A save returns once the value survives a kill of the process and a power failure: what sled has
/// written, and the folders it is in, are synced to the disk (`fdatasync`) after each write. If a
/// sync fails, so does the save, and everything is written again before the next one, also by a
/// process that starts later.
///
/// A value of more than 4,000 bytes, such as the snapshot of a large window with many failures, is
/// kept in pieces in the tree `pieces`; under its key are the number of the first piece, the length
/// and a checksum. If a piece is lost, a breaker still restores an open circuit from the first one.
///
/// # When the folder cannot be used
///
/// * **Held by another process** (such as the old server during a deploy): each operation returns
///   [`StoreError::Unavailable`], and the next one tries to open the folder again.
/// * **Full** or **read-only**: writes return [`StoreError::Unavailable`], and the next one tries
///   again. sled cannot open such a folder to read, so a temporary copy of up to 256 MB answers
///   reads: in the temporary folder or in `/dev/shm`, with access for this user only. It is removed
///   when the store is dropped, and by the first call a second after it was made. The next process
///   removes a copy that a killed one has left.
/// * **No threads**: sled starts seven threads in a process. While the system does not allow so
///   many, each operation returns [`StoreError::Unavailable`], and the next one tries again. Should
///   other threads take their place just after that was tried, sled waits forever: breakers go on
///   in memory and report a store that does not answer, until the process is started again.
/// * **In a forked process**: sled's threads stay with the process that has used sled first. In a
///   process that is forked from it, each operation of any `SledStore` returns
///   [`StoreError::Unavailable`]. Build circuit breakers after daemonizing; a
///   [`FileStore`](super::FileStore) or `RedbStore` that is created in the forked process works
///   there.
/// * **Removed or replaced while in use**: one operation returns [`StoreError::Unavailable`], and
///   the next one creates the folder again. Breakers also notice it within a second while they are
///   idle, and save everything again.
/// * **Damaged or unreadable**: sled's summaries of the log (`snap.*`), and if that does not help
///   its settings (`conf`), are moved to the subfolder `damaged`, with a warning in the log, and
///   the log is read without them. Then nothing is lost that the log holds. The files of the newest
///   three repairs are kept.
/// * **Still unreadable**: the folder is moved to `<folder>.corrupt-<seconds since 1970>`,
///   with a warning in the log, and a new one is created. The newest three of these are kept. A
///   folder that contains files of another program is not moved: [`StoreError::Unavailable`] names
///   one of the files.
///
/// # Examples
///
/// ```
/// use tower_breaker::store::{SaveEntry, SledStore, StateStore};
///
/// # let dir = tempfile::tempdir()?;
/// # let folder = dir.path().join("state");
/// let store = SledStore::open(&folder)?;
/// store.save(&SaveEntry::new("key", "value"))?;
/// drop(store);
///
/// let store = SledStore::open(&folder)?;
/// assert_eq!(store.load("key")?.as_deref(), Some(b"value".as_slice()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SledStore {
    databases: Arc<Databases>,
    label: Option<Arc<str>>,
}

/// Snapshots are overwritten all the time, and histories are kept for long: in one log, they would
/// waste space.
struct Databases {
    /// Dropped first: its folder is inside the other one.
    histories: Database,
    snapshots: Database,
}

impl SledStore {
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
        let histories = Database::new(folder.join(folder::HISTORIES));
        let databases = Arc::new(Databases { histories, snapshots: Database::new(folder) });
        Ok(Self { databases, label: None })
    }

    /// Returns the folder, as an absolute path.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.databases.snapshots.folder()
    }

    /// Sets the store's [label](StateStore::label) in metrics. The default is `sled`.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.label = Some(label.into());
        self
    }

    fn snapshots<T>(
        &self,
        operation: impl FnOnce(&Db) -> Result<T, SledError>,
    ) -> Result<T, StoreError> {
        self.note_loss(self.databases.snapshots.read(self.label(), operation))
    }

    fn write_snapshots(
        &self,
        operation: impl FnOnce(&Db) -> Result<(), SledError>,
    ) -> Result<(), StoreError> {
        self.note_loss(self.databases.snapshots.change_durably(self.label(), operation))
    }

    /// Fails if the disk may have too little room for a change of these keys, and keeps the
    /// database open.
    fn check_space<'a>(
        &self,
        changes: impl Iterator<Item = (&'a str, usize)>,
    ) -> Result<(), StoreError> {
        let Some(free) = space::scarce(self.folder()) else { return Ok(()) };
        // A copy would take up what is left of the disk, and cannot be written to either.
        let snapshots = &self.databases.snapshots;
        let needed = snapshots.run_in_place(self.label(), |db| space::needed(db, changes));
        match self.note_loss(needed)? {
            Some(needed) if free < needed => Err(space::too_little(self.folder(), free, needed)),
            _ => Ok(()),
        }
    }

    fn append_histories<'a>(
        &self,
        histories: impl IntoIterator<Item = (&'a str, &'a [HistoryRecord])>,
    ) -> Result<(), StoreError> {
        let label = self.label();
        let appended =
            self.databases.histories.change_durably(label, |db| history::append(db, histories));
        self.note_loss(appended)
    }

    /// Reads histories, and creates no database for that.
    fn read_histories<T: Default>(
        &self,
        operation: impl FnOnce(&Db) -> Result<T, SledError>,
    ) -> Result<T, StoreError> {
        let histories = &self.databases.histories;
        if !histories.exists() {
            return Ok(T::default());
        }
        self.note_loss(histories.read(self.label(), operation))
    }

    /// A folder that was removed is one loss, although it has two databases: once one of them has
    /// reported it, the other does not fail for it too.
    fn note_loss<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        result.inspect_err(|_| {
            let _ = self.databases.snapshots.verify();
            let _ = self.databases.histories.verify();
        })
    }
}

impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledStore").field("folder", &self.folder()).finish_non_exhaustive()
    }
}

impl StateStore for SledStore {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let loaded = self.snapshots(|db| values::load(db, key))?;
        loaded.transpose().map_err(|Damaged(_)| {
            let folder = self.folder().display();
            let reason = format!("{folder}: nothing of the value of {key:?} can be read");
            StoreError::Corrupt(reason.into())
        })
    }

    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.snapshots(|db| values::load_page(db, after, limit))
    }

    fn visit_page(
        &self,
        after: Option<&str>,
        limit: usize,
        visit: &mut dyn FnMut(&str, &[u8]),
    ) -> Result<(), StoreError> {
        self.snapshots(|db| values::visit_page(db, after, limit, visit))
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.check_space(iter::once((entry.key.as_str(), length_in_place(&entry.value))))?;
        self.write_snapshots(|db| values::save(db, entry))
    }

    fn save_all(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        let changes = entries.iter();
        let changes = changes.map(|entry| (entry.key.as_str(), length_in_place(&entry.value)));
        self.check_space(changes)?;
        self.write_snapshots(|db| values::save_all(db, entries))
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.check_space(iter::once((key, 0)))?;
        self.write_snapshots(|db| values::delete(db, key))
    }

    fn delete_all(&self, keys: &[String]) -> Result<(), StoreError> {
        self.check_space(keys.iter().map(|key| (key.as_str(), 0)))?;
        self.write_snapshots(|db| values::delete_all(db, keys))
    }

    fn history(&self) -> Option<&dyn HistoryStore> {
        Some(self)
    }

    fn verify(&self) -> Result<(), StoreError> {
        let snapshots = self.databases.snapshots.verify();
        let histories = self.databases.histories.verify();
        snapshots.and(histories)
    }

    fn last_repair(&self) -> Option<String> {
        let repair = self.databases.snapshots.last_repair();
        repair.or_else(|| self.databases.histories.last_repair())
    }

    fn id(&self) -> usize {
        Arc::as_ptr(&self.databases).addr()
    }

    fn label(&self) -> &str {
        self.label.as_deref().unwrap_or("sled")
    }
}

impl HistoryStore for SledStore {
    fn append(&self, key: &str, records: &[HistoryRecord]) -> Result<(), StoreError> {
        self.append_histories([(key, records)])
    }

    fn append_all(&self, histories: &[(String, Vec<HistoryRecord>)]) -> Result<(), StoreError> {
        let histories = histories.iter().map(|(key, records)| (key.as_str(), records.as_slice()));
        self.append_histories(histories)
    }

    fn load_newest(
        &self,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>, StoreError> {
        self.read_histories(|db| history::load_newest(db, key, before, limit))
    }

    fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        self.read_histories(|db| history::keys(db, after, limit))
    }

    fn trim(&self, key: &str, older_than: u64, keep: usize) -> Result<(), StoreError> {
        let histories = &self.databases.histories;
        if !histories.exists() {
            return Ok(());
        }
        self.note_loss(
            histories.run_in_place(self.label(), |db| history::trim(db, key, older_than, keep)),
        )
    }
}
