//! What is in a folder, without touching it: a copy is opened instead.
//!
//! To open a sled folder is to write to it, were it only what a killed server left to be mended.
//! And while this program held the folder, a server that starts would have to do without. All that
//! is done to the folder itself is to try its lock, for an instant.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use tempfile::TempDir;
use tower_breaker::{
    FileStore, SledStore, StateStore,
    store::{HistoryRecord, StoreError},
};

use crate::Fault;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sled,
    Files,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::Files => "files",
        }
    }

    /// The file whose lock a server holds.
    fn lock(self) -> &'static str {
        match self {
            Self::Sled => "db",
            Self::Files => "+lock",
        }
    }

    fn of(folder: &Path) -> Result<Self, Fault> {
        let shown = folder.display();
        let other = |reason: &str| Err(Fault::Other(format!("{shown} {reason}")));
        match fs::metadata(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return other("does not exist");
            }
            Err(error) => return other(&format!("cannot be looked at: {error}")),
            Ok(found) if !found.is_dir() => return other("is a file; which folder is it in?"),
            Ok(_) => {}
        }
        let has = |kind: Self| folder.join(kind.lock()).is_file();
        match (has(Self::Sled) && folder.join("conf").is_file(), has(Self::Files)) {
            (true, false) => Ok(Self::Sled),
            (false, true) => Ok(Self::Files),
            (true, true) => other("is both a sled folder and one of files: give each its own"),
            (false, false) => other(
                "is no store's folder: neither sled's (db and conf), nor one of files (+lock)",
            ),
        }
    }

    fn is_its_own(self, name: &str) -> bool {
        match self {
            Self::Sled => {
                matches!(name, "db" | "conf" | "blobs" | "history") || name.starts_with("snap.")
            }
            Self::Files => {
                let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
                matches!(ending, Some("json" | "jsonl")) || name.ends_with('+')
            }
        }
    }
}

/// What a folder holds.
pub(crate) struct Content {
    pub(crate) kind: Kind,
    /// A server holds it, and may have gone on since.
    pub(crate) held: bool,
    pub(crate) entries: Vec<(String, Vec<u8>)>,
    /// On the copy.
    store: Box<dyn StateStore>,
    /// The copy is removed with this, once the store has let go of it.
    room: TempDir,
}

impl Content {
    pub(crate) fn of(folder: &Path) -> Result<Self, Fault> {
        let kind = Kind::of(folder)?;
        let failed = |error: io::Error| {
            Fault::Other(format!("{} cannot be copied to look at: {error}", folder.display()))
        };
        let room = tempfile::tempdir().map_err(failed)?;
        let copy = room.path().join("copy");
        let held = match kind {
            // Each of the files is whole at any time, whoever holds the folder.
            Kind::Files => {
                copy_folder(kind, folder, &copy).map_err(failed)?;
                is_held(kind, folder)?
            }
            Kind::Sled => {
                let before = (is_held(kind, folder)?, marks(folder).map_err(failed)?);
                if !before.0 {
                    copy_folder(kind, folder, &copy).map_err(failed)?;
                }
                let after = (is_held(kind, folder)?, marks(folder).map_err(failed)?);
                if before.0 || after != before {
                    return Err(Fault::Held(folder.to_owned()));
                }
                false
            }
        };
        let unreadable = |error: StoreError| {
            Fault::Other(format!("{} cannot be read: {error}", folder.display()))
        };
        let store = open(kind, &copy).map_err(unreadable)?;
        let entries = store.load_page(None, usize::MAX).map_err(unreadable)?;
        if is_damaged(room.path()) {
            return Err(Fault::Other(format!(
                "{} is damaged and cannot be read; the next server that starts moves it aside and starts anew",
                folder.display()
            )));
        }
        Ok(Self { kind, held, entries, store, room })
    }

    /// What a breaker went through, the newest first.
    pub(crate) fn history(&self, name: &str, limit: usize) -> Result<Vec<HistoryRecord>, Fault> {
        let Some(histories) = self.store.history() else { return Ok(Vec::new()) };
        let key = format!("circuit_breaker:{name}:history");
        let records = histories.load_newest(&key, None, limit);
        if is_damaged(&self.room.path().join("copy")) {
            return Err(Fault::Other("the histories are damaged and cannot be read".to_owned()));
        }
        records.map_err(|error| Fault::Other(format!("the history cannot be read: {error}")))
    }
}

/// A store that finds a folder damaged moves it aside and starts a new one.
fn is_damaged(room: &Path) -> bool {
    let names = fs::read_dir(room).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.into_iter().any(|name| name.to_string_lossy().contains(".corrupt-"))
}

fn is_held(kind: Kind, folder: &Path) -> Result<bool, Fault> {
    let path = folder.join(kind.lock());
    let failed =
        |error: io::Error| Fault::Other(format!("{} cannot be read: {error}", path.display()));
    // Let go of when the file is closed, on the way out of here.
    match File::open(&path).map_err(failed)?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// By which a change of the folder shows.
fn marks(folder: &Path) -> io::Result<BTreeMap<PathBuf, (u64, SystemTime)>> {
    let mut marks = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.metadata()?;
        if found.is_dir() {
            marks.extend(self::marks(&entry.path())?);
        }
        marks.insert(entry.path(), (found.len(), found.modified()?));
    }
    Ok(marks)
}

fn copy_folder(kind: Kind, from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let is_own = entry.file_name().to_str().is_some_and(|name| kind.is_its_own(name));
        if is_own && entry.file_type()?.is_dir() {
            copy_all(kind, &entry.path(), &to.join(entry.file_name()))?;
        } else if is_own {
            copy_file(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Below the folder itself, what is sled's has any name.
fn copy_all(kind: Kind, from: &Path, to: &Path) -> io::Result<()> {
    if kind == Kind::Files {
        return copy_folder(kind, from, to);
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(kind, &entry.path(), &to)?;
        } else {
            copy_file(&entry.path(), &to)?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    match fs::metadata(from) {
        Ok(found) if found.is_file() => fs::copy(from, to).map(drop),
        // A pipe, say, is none of the store's; and what is gone by now is gone.
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn open(kind: Kind, copy: &Path) -> Result<Box<dyn StateStore>, StoreError> {
    Ok(match kind {
        Kind::Sled => Box::new(SledStore::open(copy)?),
        Kind::Files => Box::new(FileStore::open(copy)?),
    })
}
