//! What is in a folder, without touching it: a copy is opened instead.
//!
//! To open a sled folder is to write to it, were it only what a killed server left to be mended.
//! And while this program held the folder, a server that starts would have to do without. All that
//! is done to the folder itself is to try its lock, for an instant.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io,
    path::Path,
    time::SystemTime,
};

use tempfile::TempDir;
use tower_breaker::{FileStore, HistoryRecord, SledStore, StateStore, StoreError};

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
            Self::Sled => matches!(name, "db" | "conf" | "blobs") || name.starts_with("snap."),
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
    _room: TempDir,
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
        let entries = store.load_all().map_err(unreadable)?;
        // A store that finds its folder damaged moves it aside and starts a new one.
        let rooms = fs::read_dir(room.path()).map_err(failed)?.count();
        if rooms > 1 {
            return Err(Fault::Other(format!(
                "{} is damaged and cannot be read; the next server that starts moves it aside and starts anew",
                folder.display()
            )));
        }
        Ok(Self { kind, held, entries, store, _room: room })
    }

    /// What a breaker went through, the newest first.
    pub(crate) fn history(&self, name: &str, limit: usize) -> Result<Vec<HistoryRecord>, Fault> {
        let records = self.store.history(&format!("circuit_breaker:{name}:history"), None, limit);
        records.map_err(|error| Fault::Other(format!("the history cannot be read: {error}")))
    }
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
fn marks(folder: &Path) -> io::Result<BTreeMap<String, (u64, SystemTime)>> {
    let mut marks = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.metadata()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        marks.insert(name, (found.len(), found.modified()?));
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

/// Below the folder itself, everything is the store's.
fn copy_all(kind: Kind, from: &Path, to: &Path) -> io::Result<()> {
    match kind {
        Kind::Files => copy_folder(kind, from, to),
        Kind::Sled => {
            fs::create_dir(to)?;
            fs::read_dir(from)?.try_for_each(|entry| {
                let entry = entry?;
                copy_file(&entry.path(), &to.join(entry.file_name()))
            })
        }
    }
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
