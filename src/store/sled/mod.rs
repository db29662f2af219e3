//! The store on disk: embedded sled databases.

mod folder;
mod history;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    ops::Bound::{Excluded, Unbounded},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use ::sled::{Config, Db, Error as SledError, Iter};

use super::{
    HistoryRecord, HistoryStore, SaveEntry, StateStore, StoreError,
    path::{self, Identity},
};
use crate::{
    metrics,
    sync::{panic_message, std_lock as lock},
};

/// Entries that are given to sled at once. It lays out the pages of a larger batch so that reading them back takes
/// five times as long.
const BATCH: usize = 1000;

/// Bytes of pages that sled may keep in memory. Its own default, a gigabyte, is far too much for snapshots.
const CACHE_BYTES: u64 = 16 << 20;

/// Damage can show after the folder opened well, and a panic within sled can have other causes than damage. So
/// a folder is given up as unreadable only after this many failures of that kind with no success in between.
const STRIKES: u32 = 3;

/// sled writes a new folder's settings before it takes the folder's lock: one that was started at the same
/// moment by another process can look damaged for an instant.
const SECOND_LOOK: Duration = Duration::from_millis(50);

/// Keeps snapshots and histories in a folder on disk, each in a [sled](::sled) database of its own: the
/// histories in the folder `history` in it, once there are any.
///
/// Clones share one database. The folder is opened by the first operation, not by [`open`](Self::open), and
/// belongs to this process until the last clone is dropped. What was saved survives a kill of the process.
///
/// # When the folder cannot be used
///
/// * **Held by another process** (the old server that is still going down), **full**, **read-only**: each
///   operation returns [`StoreError::Unavailable`], and the next one tries to open the folder again.
/// * **Removed while in use**: one operation returns [`StoreError::Unavailable`], the next one starts anew.
/// * **Unreadable**: it is moved to `<folder>.corrupt-<seconds since 1970>`, with a warning that says so, and a
///   new one is started. The three newest of those are kept. A folder with files that are not sled's is never
///   moved; then [`StoreError::Unavailable`] says what is in the way.
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
    shared: Arc<Shared>,
    label: Option<Arc<str>>,
}

/// Two databases: what one is given ever anew, and what the other keeps for long, would be a waste of space in
/// one log.
struct Shared {
    /// Dropped first: it is in the other's folder.
    histories: Database,
    snapshots: Database,
}

struct Database {
    folder: PathBuf,
    slot: Mutex<Slot>,
}

/// The database while it is open.
#[derive(Default)]
struct Slot {
    open: Option<Open>,
    strikes: u32,
}

struct Open {
    db: Db,
    /// To notice that it was removed: sled does not.
    file: Identity,
}

impl SledStore {
    /// A store in `folder`, which is made when it is first needed, and its parents with it.
    ///
    /// This only looks at the path. A folder that cannot be opened now gives a store that keeps trying.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] if no waiting would help: the path, or a parent of it, is a file, or it is
    /// empty.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, StoreError> {
        let folder = path::checked(folder.as_ref())?;
        let histories = Database::new(folder.join(folder::HISTORIES));
        let shared = Arc::new(Shared { histories, snapshots: Database::new(folder) });
        Ok(Self { shared, label: None })
    }

    /// The folder, as an absolute path.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.shared.snapshots.folder
    }

    /// Chooses the store's [label](StateStore::label) in metrics, in place of `sled`.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.label = Some(label.into());
        self
    }

    fn snapshots<T>(&self, job: impl FnOnce(&Db) -> Result<T, SledError>) -> Result<T, StoreError> {
        self.shared.snapshots.run(self.label(), job)
    }

    fn histories<T>(&self, job: impl FnOnce(&Db) -> Result<T, SledError>) -> Result<T, StoreError> {
        self.shared.histories.run(self.label(), job)
    }

    /// Does not make the database of the histories if there is none.
    fn look_into_histories<T: Default>(
        &self,
        job: impl FnOnce(&Db) -> Result<T, SledError>,
    ) -> Result<T, StoreError> {
        if self.shared.histories.exists() { self.histories(job) } else { Ok(T::default()) }
    }
}

impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledStore").field("folder", &self.folder()).finish_non_exhaustive()
    }
}

impl StateStore for SledStore {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.snapshots(|db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let start = after.map_or(Unbounded, |after| Excluded(after.as_bytes()));
        self.snapshots(|db| texts(db.range::<&[u8], _>((start, Unbounded))).take(limit).collect())
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.snapshots(|db| {
            db.insert(entry.key.as_bytes(), entry.value.as_slice())?;
            db.flush().map(drop)
        })
    }

    fn save_all(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        self.snapshots(|db| {
            for some in entries.chunks(BATCH) {
                let mut batch = ::sled::Batch::default();
                for entry in some {
                    batch.insert(entry.key.as_bytes(), entry.value.as_slice());
                }
                db.apply_batch(batch)?;
            }
            db.flush().map(drop)
        })
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.snapshots(|db| {
            db.remove(key)?;
            db.flush().map(drop)
        })
    }

    fn history(&self) -> Option<&dyn HistoryStore> {
        Some(self)
    }

    fn id(&self) -> usize {
        Arc::as_ptr(&self.shared).addr()
    }

    fn label(&self) -> &str {
        self.label.as_deref().unwrap_or("sled")
    }
}

impl HistoryStore for SledStore {
    fn append(&self, key: &str, records: &[HistoryRecord]) -> Result<(), StoreError> {
        self.histories(|db| history::append(db, [(key, records)]))
    }

    fn append_all(&self, histories: &[(String, Vec<HistoryRecord>)]) -> Result<(), StoreError> {
        let histories = histories.iter().map(|(key, records)| (key.as_str(), records.as_slice()));
        self.histories(|db| history::append(db, histories))
    }

    fn load_newest(
        &self,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>, StoreError> {
        self.look_into_histories(|db| history::read(db, key, before, limit))
    }

    fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        self.look_into_histories(|db| history::keys(db, after, limit))
    }

    fn trim(&self, key: &str, older_than: u64, keep: usize) -> Result<(), StoreError> {
        self.look_into_histories(|db| history::trim(db, key, older_than, keep))
    }
}

/// Keys that are not text were not put there by this store.
fn texts(entries: Iter) -> impl Iterator<Item = Result<(String, Vec<u8>), SledError>> {
    entries.filter_map(|entry| match entry {
        Ok((key, value)) => {
            std::str::from_utf8(&key).ok().map(|key| Ok((key.to_owned(), value.to_vec())))
        }
        Err(error) => Some(Err(error)),
    })
}

impl Database {
    fn new(folder: PathBuf) -> Self {
        Self { folder, slot: Mutex::default() }
    }

    fn exists(&self) -> bool {
        lock(&self.slot).open.is_some() || self.folder.join("db").exists()
    }

    /// Runs `job` on the database, which is opened first if need be, and dropped if the job fails: a handle
    /// that failed to write once fails for ever (after a full disk, for one), and only a new one heals.
    fn run<T>(
        &self,
        label: &str,
        job: impl FnOnce(&Db) -> Result<T, SledError>,
    ) -> Result<T, StoreError> {
        let mut slot = lock(&self.slot);
        self.notice_removal(&mut slot)?;
        let open = match &mut slot.open {
            Some(open) => open,
            empty => empty.insert(self.open(label)?),
        };
        let failure = match guarded(|| job(&open.db)) {
            Ok(Ok(value)) => {
                slot.strikes = 0;
                return Ok(value);
            }
            Ok(Err(error)) => Failure::Error(error),
            Err(message) => Failure::Panic(message),
        };
        self.close(&mut slot);
        if failure.is_damage() {
            slot.strikes += 1;
            if slot.strikes >= STRIKES {
                slot.strikes = 0;
                self.set_aside(label, &failure)?;
            }
        }
        Err(failure.into_error(&self.folder))
    }

    /// sled goes on writing into files that were removed, and says that all is well. Whether the file that it
    /// writes to is still the one in the folder costs one look at the folder.
    ///
    /// This fails once instead of starting anew in silence, so that the caller knows that what it saved earlier
    /// is gone, and saves it again.
    fn notice_removal(&self, slot: &mut Slot) -> Result<(), StoreError> {
        let removed = slot
            .open
            .as_ref()
            .is_some_and(|open| Identity::of(&self.folder.join("db")) != open.file);
        if removed {
            self.close(slot);
            let folder = self.folder.display();
            let reason =
                format!("{folder} was removed or replaced while it was in use; starting it anew");
            return Err(StoreError::Unavailable(reason.into()));
        }
        Ok(())
    }

    fn open(&self, label: &str) -> Result<Open, StoreError> {
        let failure = match self.try_open() {
            Ok(open) => return Ok(open),
            Err(failure) if failure.is_damage() => failure,
            Err(failure) => return Err(failure.into_error(&self.folder)),
        };
        thread::sleep(SECOND_LOOK);
        folder::remove_half_done(&self.folder);
        match self.try_open() {
            Ok(open) => return Ok(open),
            Err(again) if again.is_damage() => self.set_aside(label, &failure)?,
            Err(again) => return Err(again.into_error(&self.folder)),
        }
        self.try_open().map_err(|failure| failure.into_error(&self.folder))
    }

    fn try_open(&self) -> Result<Open, Failure> {
        let config =
            Config::new().path(&self.folder).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let failure = match guarded(|| config.open()) {
            Ok(Ok(db)) => return Ok(Open { db, file: Identity::of(&self.folder.join("db")) }),
            Ok(Err(error)) => Failure::Error(error),
            Err(message) => Failure::Panic(message),
        };
        if !failure.is_lock() {
            folder::wait_until_free(&self.folder);
        }
        Err(failure)
    }

    /// Drops the handle, and with it the lock on the folder. sled writes what is left, and may panic over it.
    fn close(&self, slot: &mut Slot) {
        let Some(open) = slot.open.take() else { return };
        if let Err(message) = guarded(|| drop(open)) {
            tracing::debug!(target: "tower_breaker", message, "sled panicked while it closed");
        }
        folder::wait_until_free(&self.folder);
    }

    fn set_aside(&self, label: &str, failure: &Failure) -> Result<(), StoreError> {
        let aside = folder::move_aside(&self.folder)?;
        metrics::quarantined(label, "folder");
        tracing::warn!(
            target: "tower_breaker",
            folder = %self.folder.display(),
            kept_as = %aside.display(),
            reason = %failure,
            "the sled folder cannot be read: moved it aside and started a new one; \
             state that is not in memory is lost, so breakers that start now start closed",
        );
        Ok(())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let mut slot = std::mem::take(&mut *lock(&self.slot));
        self.close(&mut slot);
    }
}

/// Runs `job`, and turns a panic within sled into its message. Whatever the handle was in the middle of, it is
/// dropped after that and never used again.
fn guarded<T>(job: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(job)).map_err(|panic| panic_message(&*panic).to_owned())
}

/// How sled failed.
enum Failure {
    Error(SledError),
    Panic(String),
}

impl Failure {
    /// The folder looks as if it cannot be read, now or later.
    fn is_damage(&self) -> bool {
        match self {
            // A panic too: sled asserts some of what it reads.
            Self::Error(SledError::Corruption { .. } | SledError::Unsupported(_))
            | Self::Panic(_) => true,
            Self::Error(SledError::Io(error)) => error.kind() == std::io::ErrorKind::UnexpectedEof,
            Self::Error(_) => false,
        }
    }

    /// Somebody else has the folder. sled has no kind of its own for that.
    fn is_lock(&self) -> bool {
        let Self::Error(SledError::Io(error)) = self else { return false };
        error.to_string().contains("could not acquire lock")
    }

    fn into_error(self, folder: &Path) -> StoreError {
        let folder = folder.display();
        let reason = match &self {
            held if held.is_lock() => format!(
                "{folder} is held by another process, or by another SledStore of this one; \
                 it is taken over as soon as it is free"
            ),
            Self::Error(SledError::ReportableBug(_)) => {
                format!("{folder}: {self}; restart the process to mend it")
            }
            _ => format!("{folder}: {self}"),
        };
        StoreError::Unavailable(reason.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(SledError::Io(error)) => error.fmt(f),
            Self::Error(error) => error.fmt(f),
            Self::Panic(message) => write!(f, "sled panicked: {message}"),
        }
    }
}
