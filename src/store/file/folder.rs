//! The folder while it is this store's: its lock, and files that are whole at any moment.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use super::names;
use crate::store::{StoreError, path::Identity};

/// Held while the store is open. It stays when it is given up: a lock on a file that somebody removes is none.
const LOCK: &str = "+lock";
/// What becomes a file once it is on disk. One is enough: who has the lock writes alone.
const HALF_DONE: &str = "+saving.tmp";

/// No key of a breaker has more parts.
const DEEPEST: usize = 32;

/// A folder whose lock is held.
pub(super) struct Folder {
    path: PathBuf,
    lock: File,
}

impl Folder {
    /// Makes the folder if there is none, and takes its lock, or fails at once.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let shown = path.display();
        let failed = |error: io::Error| unavailable(format!("{shown}: {error}"));
        fs::create_dir_all(path).map_err(failed)?;
        // Its own name, too, should be there after a power failure. Not every parent can be opened.
        let _ = path.parent().map(sync);
        let lock = open_lock(&path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(unavailable(format!(
                    "{shown} is held by another process, or by another FileStore of this one; \
                     it is taken over as soon as it is free"
                )));
            }
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                let reason = format!("{shown} is on a file system without locks: {error}");
                return Err(StoreError::Misconfigured(reason.into()));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let folder = Self { path: path.to_owned(), lock };
        if !folder.is_in_place() {
            return Err(unavailable(format!("{shown} was replaced while it was opened")));
        }
        // Left by a process that was killed in the middle of a save.
        let _ = fs::remove_file(folder.path.join(HALF_DONE));
        Ok(folder)
    }

    /// Whether the lock that is held is still that of the folder at this path.
    pub(super) fn is_in_place(&self) -> bool {
        Identity::of_open(&self.lock) == Identity::of(&self.path.join(LOCK))
    }

    /// What is in a file, as it is.
    pub(super) fn read(&self, file: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path.join(file);
        match read_file(&path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(file_failure(&path, &error)),
        }
    }

    /// The files of the store, as paths within the folder.
    pub(super) fn files(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut files = Vec::new();
        self.collect(Path::new(""), DEEPEST, &mut files)?;
        Ok(files)
    }

    fn collect(
        &self,
        part: &Path,
        depth: usize,
        files: &mut Vec<PathBuf>,
    ) -> Result<(), StoreError> {
        let folder = self.path.join(part);
        let failed = |error: io::Error| failure(&folder, &error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = part.join(entry.file_name());
            if entry.file_type().map_err(failed)?.is_dir() {
                if depth > 0 && names::is_part(&entry.file_name()) {
                    self.collect(&path, depth - 1, files)?;
                }
            } else {
                files.push(path);
            }
        }
        Ok(())
    }

    /// Puts contents into files, one after the other. All of them are on disk once this returns.
    ///
    /// Whoever reads a file meets what it was or what it becomes, and so does whoever comes after a kill.
    pub(super) fn write(
        &self,
        contents: impl Iterator<Item = (PathBuf, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        self.change(contents, |path, content| {
            let half_done = self.path.join(HALF_DONE);
            let replaced = write_whole(&half_done, content)
                .map_err(|error| failure(&half_done, &error))
                .and_then(|()| {
                    fs::rename(&half_done, path).map_err(|error| file_failure(path, &error))
                });
            if replaced.is_err() {
                // A disk that is full gets its room back.
                let _ = fs::remove_file(&half_done);
            }
            replaced.map(|()| true)
        })
    }

    /// Adds lines to files, one after the other. All of them are on disk once this returns.
    pub(super) fn append(
        &self,
        lines: impl Iterator<Item = (PathBuf, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        self.change(lines, |path, lines| {
            append_whole(path, lines).map_err(|error| file_failure(path, &error))
        })
    }

    /// Changes files, and makes durable the names that the change says are new.
    fn change(
        &self,
        contents: impl Iterator<Item = (PathBuf, Vec<u8>)>,
        change: impl Fn(&Path, &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut changed = BTreeSet::new();
        for (file, content) in contents {
            let path = self.path.join(file);
            if let Some(parent) = path.parent().filter(|parent| *parent != self.path) {
                fs::create_dir_all(parent).map_err(|error| failure(parent, &error))?;
            }
            if change(&path, &content)? {
                let parents = path.ancestors().skip(1);
                let parents = parents.take_while(|parent| parent.starts_with(&self.path));
                changed.extend(parents.map(Path::to_owned));
            }
        }
        changed.iter().try_for_each(|folder| sync(folder))
    }

    pub(super) fn remove(&self, file: &Path) -> Result<(), StoreError> {
        let path = self.path.join(file);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if is_missing(&error) => return Ok(()),
            Err(error) => return Err(file_failure(&path, &error)),
        }
        let parents = path.ancestors().skip(1);
        for parent in parents.take_while(|parent| parent.starts_with(&self.path)) {
            sync(parent)?;
            // Only a folder that became empty can be removed.
            if *parent == *self.path || fs::remove_dir(parent).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// A folder that can only be read has a lock that can only be read, and that will do.
fn open_lock(path: &Path) -> io::Result<File> {
    let writable =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    writable.or_else(|error| File::open(path).map_err(|_| error))
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe, say, would never end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    fs::read(path)
}

fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Adds lines at the end, or nothing. Says whether the file is a new one.
fn append_whole(path: &Path, lines: &[u8]) -> io::Result<bool> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::other("it is not a file"));
    }
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let length = file.metadata()?.len();
    let added = begin_line(&mut file, length)
        .and_then(|()| file.write_all(lines))
        .and_then(|()| file.sync_all());
    if added.is_err() {
        // A disk that is full gets its room back.
        let _ = file.set_len(length);
    }
    added.map(|()| length == 0)
}

/// A process that was killed while it wrote may have left the beginning of a line.
fn begin_line(file: &mut File, length: u64) -> io::Result<()> {
    let Some(last) = length.checked_sub(1) else { return Ok(()) };
    let mut end = [0];
    file.seek(SeekFrom::Start(last))?;
    file.read_exact(&mut end)?;
    if end == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

/// Makes the names in a folder durable. Elsewhere than on Unix a folder cannot be opened for that.
fn sync(folder: &Path) -> Result<(), StoreError> {
    if cfg!(unix) {
        let synced = File::open(folder).and_then(|opened| opened.sync_all());
        return synced.map_err(|error| failure(folder, &error));
    }
    Ok(())
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

fn unavailable(reason: String) -> StoreError {
    StoreError::Unavailable(reason.into())
}

/// The folder is in trouble, and with it all files; or what was to be a folder for a few of them is a file.
fn failure(path: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => file_failure(path, error),
        _ => unavailable(format!("{}: {error}", path.display())),
    }
}

/// One file is in trouble, and the others need not suffer for it; or the disk is.
fn file_failure(path: &Path, error: &io::Error) -> StoreError {
    let reason = format!("{}: {error}", path.display());
    match error.kind() {
        ErrorKind::StorageFull
        | ErrorKind::QuotaExceeded
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::StaleNetworkFileHandle => unavailable(reason),
        _ => StoreError::Other(reason.into()),
    }
}
