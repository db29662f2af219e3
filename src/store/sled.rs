use std::{
    ffi::OsString,
    fmt, fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use super::{StateStore, StoreError};

/// Snapshots in an embedded [sled](::sled) tree: a folder on a local disk.
///
/// Clones share one tree. Open a folder once and give clones to all breakers that keep their
/// state there. Every save is flushed to the disk before it counts as saved.
///
/// A folder belongs to one process at a time. While another one holds it, while the disk is full
/// or the folder read-only, every operation fails with [`StoreError::Unavailable`] and the next
/// one tries to open the folder anew. (sled refuses every write after its first failed one; only
/// opening anew heals it.) A folder that sled cannot read is moved aside to
/// `<folder>.corrupt-<seconds since 1970>`, of which the three newest are kept, and a new one is
/// started.
#[derive(Clone)]
pub struct SledStore {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    /// `None` until it could be opened, and after it failed.
    tree: Mutex<Option<Opened>>,
}

struct Opened {
    tree: ::sled::Db,
    identity: Option<u64>,
}

impl SledStore {
    const CACHE_BYTES: u64 = 4 * 1024 * 1024;
    const QUARANTINED_FOLDERS: usize = 3;

    /// Opens the folder, or makes it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] for what no waiting mends: the path, or a part of it, is a
    /// file. Everything else (the old server still holds the folder during a deploy) gives a
    /// store that goes on trying.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let store = Self {
            shared: Arc::new(Shared { path: path.as_ref().to_owned(), tree: Mutex::new(None) }),
        };
        match store.with(|_| Ok(())) {
            Err(error @ StoreError::Misconfigured { .. }) => Err(error),
            // The writing thread meets the same fault at its first attempt, and reports it.
            Ok(()) | Err(_) => Ok(store),
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&::sled::Db) -> ::sled::Result<T>,
    ) -> Result<T, StoreError> {
        let path = &self.shared.path;
        let mut slot = self.shared.tree.lock().unwrap_or_else(PoisonError::into_inner);
        // A folder that was deleted goes on taking writes that nobody will find.
        if slot.as_ref().is_some_and(|opened| opened.identity != identity(path)) {
            *slot = None;
        }
        let opened = match slot.take() {
            Some(opened) => opened,
            None => open_or_start_anew(path)?,
        };
        // sled is known to panic on some damage that it does not expect.
        let error = match catch_unwind(AssertUnwindSafe(|| work(&opened.tree))) {
            Ok(Ok(value)) => {
                *slot = Some(opened);
                return Ok(value);
            }
            Ok(Err(error)) => explain(path, &error),
            Err(_) => corrupt(path, "sled panicked"),
        };
        drop(opened);
        if let StoreError::Corrupt { reason } = &error {
            set_aside(path, reason)?;
        }
        Err(error)
    }
}

impl StateStore for SledStore {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(|tree| Ok(tree.get(key)?.map(|value| value.to_vec())))
    }

    fn load_all(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.with(|tree| {
            let pair = |pair: ::sled::Result<(::sled::IVec, ::sled::IVec)>| {
                let (key, value) = pair?;
                Ok((String::from_utf8_lossy(&key).into_owned(), value.to_vec()))
            };
            tree.iter().map(pair).collect()
        })
    }

    fn save(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.with(|tree| {
            tree.insert(key, value)?;
            tree.flush().map(drop)
        })
    }

    fn save_all(&self, entries: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        self.with(|tree| {
            let mut batch = ::sled::Batch::default();
            for (key, value) in entries {
                batch.insert(key.as_str(), value.as_slice());
            }
            tree.apply_batch(batch)?;
            tree.flush().map(drop)
        })
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.with(|tree| {
            tree.remove(key)?;
            tree.flush().map(drop)
        })
    }

    fn instance(&self) -> usize {
        Arc::as_ptr(&self.shared).addr()
    }
}

impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledStore").field("path", &self.shared.path).finish()
    }
}

fn open_or_start_anew(path: &Path) -> Result<Opened, StoreError> {
    match open_folder(path) {
        Err(StoreError::Corrupt { reason }) => {
            set_aside(path, &reason)?;
            open_folder(path)
        }
        other => other,
    }
}

fn set_aside(path: &Path, reason: &str) -> Result<(), StoreError> {
    let aside = move_aside(path)?;
    tracing::warn!(
        target: "tower_breaker",
        folder = %path.display(),
        kept_as = %aside.display(),
        reason,
        "the folder of the circuit breakers' state cannot be read; \
         it is kept aside and a new one is started",
    );
    Ok(())
}

fn open_folder(path: &Path) -> Result<Opened, StoreError> {
    let config = ::sled::Config::new()
        .path(path)
        .cache_capacity(SledStore::CACHE_BYTES)
        // Every save is flushed by itself.
        .flush_every_ms(None);
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(Ok(tree)) => Ok(Opened { tree, identity: identity(path) }),
        Ok(Err(error)) => Err(explain(path, &error)),
        Err(_) => Err(corrupt(path, "sled panicked")),
    }
}

/// Which file it is that sled writes to, as far as the system can tell.
fn identity(path: &Path) -> Option<u64> {
    let file = fs::metadata(path.join("db")).ok()?;
    #[cfg(unix)]
    {
        Some(std::os::unix::fs::MetadataExt::ino(&file))
    }
    #[cfg(not(unix))]
    {
        Some(u64::from(file.is_file()))
    }
}

fn explain(path: &Path, error: &::sled::Error) -> StoreError {
    match error {
        ::sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => {
            StoreError::Unavailable {
                reason: format!("the folder {} is held by another process", path.display()),
            }
        }
        ::sled::Error::Io(error) if is_a_file(path, error) => StoreError::Misconfigured {
            reason: format!(
                "{} is not a folder; name one that is, or that can be made",
                path.display()
            ),
        },
        ::sled::Error::Io(error) => {
            StoreError::Unavailable { reason: format!("the folder {}: {error}", path.display()) }
        }
        // What sled says of a damaged configuration file.
        ::sled::Error::Unsupported(what) => corrupt(path, what),
        ::sled::Error::Corruption { .. } | ::sled::Error::ReportableBug(_) => {
            corrupt(path, &error.to_string())
        }
        ::sled::Error::CollectionNotFound(_) => StoreError::other(error.clone()),
    }
}

fn corrupt(path: &Path, reason: &str) -> StoreError {
    StoreError::Corrupt { reason: format!("the folder {}: {reason}", path.display()) }
}

fn is_a_file(path: &Path, error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists)
        || path.ancestors().any(Path::is_file)
}

/// Renames the folder, and removes the oldest of those that were renamed before.
fn move_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let unavailable = |error: io::Error| StoreError::Unavailable {
        reason: format!(
            "the folder {} cannot be read, and cannot be moved aside either: {error}",
            path.display()
        ),
    };
    let prefix = {
        let mut name = path.file_name().map(OsString::from).unwrap_or_default();
        name.push(".corrupt-");
        name
    };
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // The first free name: two in one second are two.
    let names = (since_1970.as_secs()..).map(|second| {
        let mut name = prefix.clone();
        name.push(second.to_string());
        path.with_file_name(name)
    });
    let aside = names
        .take(1000)
        .find(|aside| !aside.exists())
        .unwrap_or_else(|| path.with_extension("corrupt"));
    fs::rename(path, &aside).map_err(unavailable)?;
    remove_oldest(path, &prefix);
    Ok(aside)
}

/// What cannot be removed is left: it is in nobody's way but the disk's.
fn remove_oldest(path: &Path, prefix: &OsString) {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let Ok(folder) = fs::read_dir(parent.unwrap_or(Path::new("."))) else {
        return;
    };
    let prefix = prefix.to_string_lossy();
    let mut aside: Vec<(u64, PathBuf)> = folder
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let second =
                entry.file_name().to_string_lossy().strip_prefix(&*prefix)?.parse().ok()?;
            Some((second, entry.path()))
        })
        .collect();
    aside.sort_unstable();
    let surplus = aside.len().saturating_sub(SledStore::QUARANTINED_FOLDERS);
    for (_, folder) in aside.drain(..surplus) {
        let _ = fs::remove_dir_all(folder);
    }
}
