//! Reads a folder without changing it, by opening a copy.
//!
//! Opening a sled folder writes to it, if only to repair what a killed server left behind, and
//! holds its lock, so a server that starts meanwhile has to run without its store. This program
//! touches only the lock of the folder, for an instant.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use tower_breaker::{
    FileStore, SledStore, StateStore,
    store::{RedbStore, StoreError},
};

use super::{
    super::fault::Fault,
    content::{Content, StoreLocation},
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sled,
    Redb,
    Files,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::Redb => "redb",
            Self::Files => "files",
        }
    }

    /// The file that a running server locks.
    fn lock(self) -> &'static str {
        match self {
            Self::Sled => "db",
            Self::Redb => "breakers.redb",
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
            Err(error) => return other(&format!("cannot be read: {error}")),
            Ok(found) if !found.is_dir() => {
                return other("is a file; pass the folder that contains it");
            }
            Ok(_) => {}
        }
        let has = |kind: &Self| {
            folder.join(kind.lock()).is_file()
                && (*kind != Self::Sled || folder.join("conf").is_file())
        };
        let mut kinds = [Self::Sled, Self::Redb, Self::Files].into_iter().filter(has);
        match (kinds.next(), kinds.next()) {
            (Some(kind), None) => Ok(kind),
            (Some(_), Some(_)) => other("contains several stores: give each its own folder"),
            (None, _) => other(
                "contains no store: neither a sled store (db and conf), nor a redb store \
                 (breakers.redb), nor a file store (+lock)",
            ),
        }
    }

    fn is_its_own(self, name: &str) -> bool {
        match self {
            Self::Sled => {
                matches!(name, "db" | "conf" | "blobs" | "history") || name.starts_with("snap.")
            }
            Self::Redb => name == self.lock(),
            Self::Files => {
                let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
                matches!(ending, Some("json" | "jsonl")) || name.ends_with('+')
            }
        }
    }
}

/// Copies a folder, and opens the copy.
pub(super) fn read(folder: PathBuf) -> Result<Content, Fault> {
    let kind = Kind::of(&folder)?;
    let failed =
        |error: io::Error| Fault::Other(format!("{} cannot be copied: {error}", folder.display()));
    let copies = tempfile::tempdir().map_err(failed)?;
    let copy = copies.path().join("copy");
    let held = match kind {
        // Every file is complete at any time, even while a server holds the folder.
        Kind::Files => {
            copy_folder(kind, &folder, &copy).map_err(failed)?;
            is_held(kind, &folder)?
        }
        Kind::Sled | Kind::Redb => {
            let before = (is_held(kind, &folder)?, marks(&folder).map_err(failed)?);
            if !before.0 {
                copy_folder(kind, &folder, &copy).map_err(failed)?;
            }
            let after = (is_held(kind, &folder)?, marks(&folder).map_err(failed)?);
            if before.0 || after != before {
                return Err(Fault::Held(folder));
            }
            false
        }
    };
    let unreadable =
        |error: StoreError| Fault::Other(format!("{} cannot be read: {error}", folder.display()));
    let store = open(kind, &copy).map_err(unreadable)?;
    let entries = store.load_page(None, usize::MAX).map_err(unreadable)?;
    if is_damaged(copies.path()) {
        return Err(Fault::Other(format!(
            "{} is damaged and cannot be read; the next server that starts moves it aside and \
             creates a new one",
            folder.display()
        )));
    }
    if store.last_repair().is_some() {
        eprintln!("{} is damaged: this is what can be read of it", folder.display());
    }
    // It removes the copy, and is dropped after the store.
    let check = move || {
        if is_damaged(&copies.path().join("copy")) {
            return Err(Fault::Other("the histories are damaged and cannot be read".to_owned()));
        }
        Ok(())
    };
    let (place, kind) = (StoreLocation::Folder(folder), kind.as_str());
    Ok(Content { place, kind, held, entries, store, check: Box::new(check) })
}

/// A store that finds its folder damaged moves it aside and creates a new one.
fn is_damaged(copies: &Path) -> bool {
    let names = fs::read_dir(copies).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.into_iter().any(|name| name.to_string_lossy().contains(".corrupt-"))
}

fn is_held(kind: Kind, folder: &Path) -> Result<bool, Fault> {
    let path = folder.join(kind.lock());
    let failed =
        |error: io::Error| Fault::Other(format!("{} cannot be read: {error}", path.display()));
    // The lock is released when the file is closed, at the end of this function.
    match File::open(&path).map_err(failed)?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Sizes and times by which a change of the folder is noticed.
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

/// Copies a folder inside a store. In sled's, the names of the files are arbitrary.
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
        // Pipes and the like are not the store's, and a file may be gone by now.
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn open(kind: Kind, copy: &Path) -> Result<Box<dyn StateStore>, StoreError> {
    Ok(match kind {
        Kind::Sled => Box::new(SledStore::open(copy)?),
        Kind::Redb => Box::new(RedbStore::open(copy)?),
        Kind::Files => Box::new(FileStore::open(copy)?),
    })
}
