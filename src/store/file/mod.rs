//! The store for those who want to read the state with `cat`: one JSON file a breaker.

mod folder;
mod history;
mod names;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use self::{
    folder::Folder,
    names::{HISTORIES, VALUES},
};
use super::{HistoryRecord, HistoryStore, SaveEntry, StateStore, StoreError, path};
use crate::sync::std_lock as lock;

/// Keeps each snapshot in a file of its own, `payments.json` for the breaker `payments`, in one folder.
///
/// The files are JSON as it is, for `cat`, `jq` and scripts, and whole at any moment: a save writes a new file
/// and puts it in place of the old one. A history is a file of lines beside it, `payments+history.jsonl`, each
/// of them JSON, the newest last. To save waits for the disk once for each breaker, about two
/// milliseconds on a usual one, so this is for dozens of breakers; for thousands, take `SledStore`.
///
/// Clones share one folder. It is opened by the first operation, not by [`open`](Self::open), and belongs to
/// this process until the last clone is dropped. What was saved survives a kill of the process, and a power
/// failure as far as the disk keeps what it was told to.
///
/// # Names
///
/// Small letters, digits, `-`, `_` and `.` stand for themselves in a file's name; every other byte is written
/// as `%` and two digits: `EU/pay` is `%45%55%2fpay.json`. So every name has a file of its own on every file
/// system, and none leads out of the folder. A name of more than 120 bytes, as written, becomes folders.
///
/// # When the folder cannot be used
///
/// * **Held by another process** (the old server that is still going down), **full**, **read-only**: each
///   operation that cannot be done returns [`StoreError::Unavailable`], and the next one tries again.
/// * **Removed while in use**: one operation returns [`StoreError::Unavailable`], the next one starts anew.
/// * **Files of others** in the folder are left alone. Still, give the store a folder of its own.
///
/// The lock is an advisory one, on the file `+lock`: it keeps other stores out, and nobody else.
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
    shared: Arc<Shared>,
    label: Option<Arc<str>>,
}

struct Shared {
    path: PathBuf,
    /// The folder while it is open.
    slot: Mutex<Option<Folder>>,
}

impl FileStore {
    /// A store in `folder`, which is made when it is first needed, and its parents with it.
    ///
    /// This only looks at the path. A folder that cannot be opened now gives a store that keeps trying.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] if no waiting would help: the path, or a parent of it, is a file, or it is
    /// empty.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path::checked(folder.as_ref())?;
        let shared = Arc::new(Shared { path, slot: Mutex::default() });
        Ok(Self { shared, label: None })
    }

    /// The folder, as an absolute path.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.shared.path
    }

    /// Chooses the store's [label](StateStore::label) in metrics, in place of `file`.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.label = Some(label.into());
        self
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore").field("folder", &self.shared.path).finish_non_exhaustive()
    }
}

impl StateStore for FileStore {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.run(|folder| read_value(folder, &names::file_of(VALUES, key)))
    }

    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.shared.run(|folder| {
            let files = folder.files()?.into_iter();
            let mut keyed: Vec<_> =
                files.filter_map(|file| Some((names::key_of(VALUES, &file)?, file))).collect();
            keyed.retain(|(key, _)| after.is_none_or(|after| key.as_str() > after));
            keyed.sort_unstable();
            let values = keyed.into_iter().filter_map(|(key, file)| {
                read_value(folder, &file).transpose().map(|value| Ok((key, value?)))
            });
            values.take(limit).collect()
        })
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.shared.run(|folder| folder.write(std::iter::once(file_with(entry))))
    }

    fn save_all(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        self.shared.run(|folder| folder.write(entries.iter().map(file_with)))
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.shared.run(|folder| folder.remove(&names::file_of(VALUES, key)))
    }

    fn history(&self) -> Option<&dyn HistoryStore> {
        Some(self)
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
        self.shared.run(|folder| history::append(folder, std::iter::once((key, records))))
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
        self.shared.run(|folder| {
            let records = history::read(folder, &names::file_of(HISTORIES, key))?;
            let older = records.into_iter().rev();
            let older = older.filter(|(id, _)| before.is_none_or(|before| *id < before));
            Ok(older.take(limit).map(|(id, bytes)| HistoryRecord::new(id, bytes)).collect())
        })
    }

    fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        self.shared.run(|folder| history::keys(folder, after, limit))
    }

    fn trim(&self, key: &str, older_than: u64, keep: usize) -> Result<(), StoreError> {
        self.shared
            .run(|folder| history::trim(folder, &names::file_of(HISTORIES, key), older_than, keep))
    }
}

/// Text files end with a line feed, which is not part of the value.
fn file_with(entry: &SaveEntry) -> (PathBuf, Vec<u8>) {
    (names::file_of(VALUES, &entry.key), [entry.value.as_slice(), b"\n"].concat())
}

fn read_value(folder: &Folder, file: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let mut content = folder.read(file)?;
    if let Some(value) = &mut content {
        value.pop_if(|last| *last == b'\n');
    }
    Ok(content)
}

impl Shared {
    /// Runs `job` on the folder, which is opened first if need be.
    ///
    /// One that was removed fails once instead of being made anew in silence, so that the caller knows that what
    /// it saved earlier is gone, and saves it again.
    fn run<T>(&self, job: impl FnOnce(&Folder) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut slot = lock(&self.slot);
        if slot.take_if(|folder| !folder.is_in_place()).is_some() {
            let shown = self.path.display();
            let reason =
                format!("{shown} was removed or replaced while it was in use; starting it anew");
            return Err(StoreError::Unavailable(reason.into()));
        }
        let folder = match &mut *slot {
            Some(folder) => folder,
            empty => empty.insert(Folder::take(&self.path)?),
        };
        job(folder)
    }
}
