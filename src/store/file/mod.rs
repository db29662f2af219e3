//! A store in JSON files, one for each breaker.

mod contents;
mod failure;
mod folder;
mod history;
mod names;
#[cfg(test)]
mod tests;
mod values;

use std::{
    fmt, iter,
    path::{Path, PathBuf},
    slice,
    sync::{Arc, Mutex, MutexGuard},
};

use self::folder::Folder;
use super::{
    entry::SaveEntry,
    error::StoreError,
    history_store::{HistoryRecord, HistoryStore},
    path,
    state_store::StateStore,
};
use crate::{process::FirstProcess, sync::std_lock as lock};

/// Keeps each snapshot in a file of its own, `payments.json` for the breaker `payments`, in one
/// folder.
///
/// The files are plain JSON, for `cat`, `jq` and scripts, and complete at any moment: a save writes
/// a new file and renames it over the old one. A history is a file of JSON lines next to it,
/// `payments+history.jsonl`, with the newest line last. The newest calls of a large window are in
/// `payments+recent.json`. A save waits for the disk once for each
/// breaker, about two milliseconds on a typical disk. So this store is for dozens of breakers; for
/// thousands, use `SledStore`.
///
/// Clones share the folder. It is opened by the first operation, not by [`open`](Self::open), and
/// belongs to this process until the last clone is dropped.
///
/// A save returns once the value survives a kill of the process and a power failure: the file and
/// the folders with its name are synced to the disk (`fsync`). A file that is replaced keeps its
/// mode, and its owner where this process may set it.
///
/// # Names
///
/// Lowercase letters, digits, `-`, `_` and `.` stand for themselves in a file name; every other
/// byte is written as `%` and two digits: `EU/pay` is in `%45%55%2fpay.json`. So every name has a
/// file of its own on every file system, inside the folder. A name whose escaped form is longer
/// than 120 bytes is split into subfolders.
///
/// # When the folder cannot be used
///
/// * **Held by another process** (such as the old server during a deploy), **full** or
///   **read-only**: each operation that fails returns [`StoreError::Unavailable`], and the next one
///   tries again. A read-only folder is read all the same, also one without a lock file, as a copy
///   of another folder may be.
/// * **Removed or replaced while in use**: one operation returns [`StoreError::Unavailable`], and
///   the next one creates the folder again. Breakers also notice it within a second while they are
///   idle, and save everything again.
/// * **One file cannot be read** (its permissions, or a pipe in its place): this concerns its key
///   alone, which fails with [`StoreError::Other`]. [`load_page`](StateStore::load_page) returns an
///   empty value for it, and the log says so once.
/// * **Other files** in the folder are not touched. Give the store a folder of its own all the
///   same.
///
/// The lock, on the file `+lock`, is advisory: it excludes other stores, not other programs.
///
/// # Examples
///
/// ```
/// use tower_breaker::{Breaker, store::FileStore};
///
/// # let dir = tempfile::tempdir()?;
/// # let folder = dir.path().join("state");
/// let breaker = Breaker::builder("payments").store(FileStore::open(&folder)?).build()?;
/// breaker.force_open();
/// drop(breaker);
///
/// let stored = std::fs::read_to_string(folder.join("payments.json"))?;
/// assert!(stored.contains(r#""state":"forced_open""#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct FileStore {
    shared: Arc<FileInner>,
    label: Option<Arc<str>>,
}

struct FileInner {
    path: PathBuf,
    /// The folder while it is open.
    folder: Mutex<Option<Folder>>,
    user: FirstProcess,
}

impl FileStore {
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
        let path = path::absolute_folder(folder.as_ref())?;
        let shared =
            Arc::new(FileInner { path, folder: Mutex::default(), user: FirstProcess::default() });
        Ok(Self { shared, label: None })
    }

    /// Returns the folder, as an absolute path.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.shared.path
    }

    /// Sets the store's [label](StateStore::label) in metrics. The default is `file`.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.label = Some(label.into());
        self
    }
}

impl FileInner {
    /// In a forked process, the lock may be held forever, and excludes the other one from nothing.
    fn lock_folder(&self) -> Result<MutexGuard<'_, Option<Folder>>, StoreError> {
        if self.user.claim() { Ok(lock(&self.folder)) } else { Err(path::forked(&self.path)) }
    }

    fn verify(&self) -> Result<(), StoreError> {
        let mut open = self.lock_folder()?;
        match open.take_if(|folder| !folder.is_in_place()) {
            Some(_) => Err(path::removed(&self.path)),
            None => Ok(()),
        }
    }

    /// Runs an operation on the folder, and opens it first if necessary.
    fn run<T>(
        &self,
        operation: impl FnOnce(&Folder) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut open = self.lock_folder()?;
        // Perhaps it can be locked now.
        open.take_if(|folder| !folder.is_locked());
        if open.take_if(|folder| !folder.is_in_place()).is_some() {
            return Err(path::removed(&self.path));
        }
        let folder = match &mut *open {
            Some(folder) => folder,
            empty => empty.insert(Folder::open(&self.path)?),
        };
        operation(folder)
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore").field("folder", &self.shared.path).finish_non_exhaustive()
    }
}

impl StateStore for FileStore {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.run(|folder| values::load(folder, key))
    }

    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.shared.run(|folder| values::load_page(folder, after, limit))
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.save_all(slice::from_ref(entry))
    }

    fn save_all(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        self.shared.run(|folder| values::save_all(folder, entries))
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.shared.run(|folder| values::delete(folder, iter::once(key)))
    }

    fn delete_all(&self, keys: &[String]) -> Result<(), StoreError> {
        self.shared.run(|folder| values::delete(folder, keys.iter().map(String::as_str)))
    }

    fn history(&self) -> Option<&dyn HistoryStore> {
        Some(self)
    }

    fn verify(&self) -> Result<(), StoreError> {
        self.shared.verify()
    }

    fn id(&self) -> usize {
        Arc::as_ptr(&self.shared).addr()
    }

    fn label(&self) -> &str {
        self.label.as_deref().unwrap_or("file")
    }
}

impl HistoryStore for FileStore {
    fn append(&self, key: &str, records: &[HistoryRecord]) -> Result<(), StoreError> {
        self.shared.run(|folder| history::append(folder, iter::once((key, records))))
    }

    fn append_all(&self, histories: &[(String, Vec<HistoryRecord>)]) -> Result<(), StoreError> {
        let histories = histories.iter().map(|(key, records)| (key.as_str(), records.as_slice()));
        self.shared.run(|folder| history::append(folder, histories))
    }

    fn load_newest(
        &self,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>, StoreError> {
        self.shared.run(|folder| history::load_newest(folder, key, before, limit))
    }

    fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        self.shared.run(|folder| history::keys(folder, after, limit))
    }

    fn trim(&self, key: &str, older_than: u64, keep: usize) -> Result<(), StoreError> {
        self.shared.run(|folder| history::trim(folder, key, older_than, keep))
    }
}
