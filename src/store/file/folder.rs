//! A folder whose lock is held, and its files, which are complete at any moment.

use std::{
    collections::{BTreeSet, HashSet},
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use super::{
    contents::{append_lines, is_missing, read_regular, write_new},
    failure::concerns_all_files,
    names,
};
use crate::{
    store::{
        durable::{sync_folder, sync_parents},
        error::StoreError,
        lock::{LOCK_WAIT, lock_within},
        path::{self, FileIdentity},
    },
    sync::{log, std_lock},
};

/// The file whose lock is held while the store is open. It is never removed: a lock on a removed
/// file has no effect.
const LOCK: &str = "+lock";

/// A file while it is written, before it replaces the one of its key. One name is enough: only the
/// holder of the lock writes.
const TEMPORARY: &str = "+saving.tmp";

/// The deepest folder in which files are looked for. No breaker's key needs more.
const MAX_DEPTH: usize = 32;

/// The length from which on the path of a folder counts as long: a system takes 4096 bytes.
#[cfg(target_os = "linux")]
const LONG_PATH: usize = 2000;

/// A folder whose lock is held.
pub(super) struct Folder {
    path: PathBuf,
    /// The path by which files are reached: the folder's own, or a shorter one.
    base: PathBuf,
    /// Keeps a shorter path valid.
    handle: Option<File>,
    /// The error: there is no lock file, and none can be created. So no process writes to the
    /// folder.
    lock: Result<File, io::Error>,
    /// Whether the names of the folder, its parents and its files are durable.
    is_durable: AtomicBool,
    names: Mutex<Names>,
    /// Files and subfolders that cannot be read, and of which the log knows.
    reported: Mutex<HashSet<PathBuf>>,
}

/// Which names in the folder and its subfolders are durable.
#[derive(Default)]
struct Names {
    /// Folders in which a name is new. They stay here until they are synced.
    unsynced: BTreeSet<PathBuf>,
    /// Subfolders that were used. A process that was killed may have created them and the files
    /// in them, so they are synced at the first use.
    used: HashSet<PathBuf>,
}

impl Folder {
    /// Creates the folder if necessary, and takes its lock.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed =
            |error: io::Error| StoreError::Unavailable(path::describe(path, &error).into());
        fs::create_dir_all(path).map_err(failed)?;
        let (base, handle) = base_of(path).map_err(failed)?;
        let lock = open_lock(&base.join(LOCK)).map_err(failed)?;
        match lock.as_ref().map_or(Ok(()), |file| lock_within(file, LOCK_WAIT)) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(path::held(path, "FileStore")),
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                let reason = format!(
                    "{} is on a file system without locks ({error}); use a folder on another one",
                    path.display()
                );
                return Err(StoreError::Misconfigured(reason.into()));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let folder = Self {
            path: path.to_owned(),
            base,
            handle,
            lock,
            is_durable: AtomicBool::new(false),
            names: Mutex::default(),
            reported: Mutex::default(),
        };
        if !folder.is_in_place() {
            return Err(path::removed(path));
        }
        if !folder.is_locked() {
            return Ok(folder);
        }
        // A process that was killed during a save may have left it.
        let _ = fs::remove_file(folder.base.join(TEMPORARY));
        // Nor need the names be durable; what is read now counts as saved. A folder that cannot be
        // synced is read anyway.
        let _ = folder.make_durable();
        Ok(folder)
    }

    /// Whether the lock that is held is still the one at the folder's path.
    pub(super) fn is_in_place(&self) -> bool {
        let is_folder = |handle| FileIdentity::of_file(handle) == FileIdentity::of_path(&self.path);
        self.handle.as_ref().is_none_or(is_folder)
            && self.lock.as_ref().map_or(true, |lock| {
                FileIdentity::of_file(lock) == FileIdentity::of_path(&self.base.join(LOCK))
            })
    }

    /// Whether its lock is held. Without it, the folder can only be read.
    pub(super) const fn is_locked(&self) -> bool {
        self.lock.is_ok()
    }

    /// Returns the content of a file, or `None` if it does not exist.
    pub(super) fn read(&self, file: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.base.join(file);
        match read_regular(&path) {
            Ok(content) => {
                self.note_use(&path);
                Ok(Some(content))
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.file_failure(&path, &error)),
        }
    }

    /// Returns the paths of all files, relative to the folder.
    pub(super) fn files(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut files = Vec::new();
        self.collect(Path::new(""), MAX_DEPTH, &mut files)?;
        Ok(files)
    }

    fn collect(
        &self,
        part: &Path,
        depth: usize,
        files: &mut Vec<PathBuf>,
    ) -> Result<(), StoreError> {
        let folder = self.base.join(part);
        let failed = |error: io::Error| match error.kind() {
            ErrorKind::PermissionDenied if depth < MAX_DEPTH => self.file_failure(&folder, &error),
            _ => self.failure(&folder, &error),
        };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = part.join(entry.file_name());
            if !entry.file_type().map_err(failed)?.is_dir() {
                files.push(path);
            } else if depth > 0 && names::is_part(&entry.file_name()) {
                match self.collect(&path, depth - 1, files) {
                    // A subfolder that must not be read hides its own files only.
                    Err(error @ StoreError::Other(_)) => self.report(&path, &error),
                    collected => collected?,
                }
            }
        }
        Ok(())
    }

    /// Logs, once for each file, that it cannot be read and was skipped.
    pub(super) fn report(&self, file: &Path, error: &StoreError) {
        if std_lock(&self.reported).insert(file.to_owned()) {
            log(|| {
                tracing::warn!(
                    target: "tower_breaker",
                    %error,
                    "a file in the store's folder cannot be read and is skipped; make it readable, \
                     or remove it",
                );
            });
        }
    }

    /// Replaces the contents of files, one after the other, and returns once all are on disk.
    ///
    /// A reader sees the old or the new content, also after a kill.
    pub(super) fn write(
        &self,
        contents: impl Iterator<Item = (PathBuf, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        self.change(contents, |path, content| {
            let temporary = self.base.join(TEMPORARY);
            let replaced = write_new(&temporary, content, fs::metadata(path).ok().as_ref())
                .map_err(|error| self.failure(&temporary, &error))
                .and_then(|()| {
                    fs::rename(&temporary, path).map_err(|error| self.file_failure(path, &error))
                });
            if replaced.is_err() {
                // Frees its space on a full disk.
                let _ = fs::remove_file(&temporary);
            }
            replaced.map(|()| true)
        })
    }

    /// Appends lines to files, one file after the other, and returns once all are on disk.
    pub(super) fn append(
        &self,
        lines: impl Iterator<Item = (PathBuf, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        self.change(lines, |path, lines| {
            append_lines(path, lines).map_err(|error| self.file_failure(path, &error))
        })
    }

    /// Changes files. `change` returns whether the file's name is new; new names are made durable,
    /// also those whose folder could not be synced by an earlier change.
    fn change(
        &self,
        contents: impl Iterator<Item = (PathBuf, Vec<u8>)>,
        change: impl Fn(&Path, &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        self.check_lock()?;
        self.make_durable()?;
        for (file, content) in contents {
            let path = self.base.join(file);
            if let Some(parent) = path.parent().filter(|parent| *parent != self.base) {
                fs::create_dir_all(parent).map_err(|error| self.failure(parent, &error))?;
                self.note_parent(parent, &path);
            }
            // A change that fails may have created the file.
            let change = change(&path, &content);
            if !matches!(change, Ok(false)) {
                self.note_change(&path);
            }
            change?;
        }
        self.sync_names()
    }

    pub(super) fn remove(&self, file: &Path) -> Result<(), StoreError> {
        self.check_lock()?;
        self.remove_one(file)?;
        self.sync_names()
    }

    pub(super) fn remove_all(
        &self,
        files: impl Iterator<Item = PathBuf>,
    ) -> Result<(), StoreError> {
        self.check_lock()?;
        for file in files {
            self.remove_one(&file)?;
        }
        self.sync_names()
    }

    /// Nothing is changed without the lock.
    fn check_lock(&self) -> Result<(), StoreError> {
        let lock = self.lock.as_ref();
        lock.map(drop).map_err(|error| self.failure(&self.base.join(LOCK), error))
    }

    /// The removal is not durable yet.
    fn remove_one(&self, file: &Path) -> Result<(), StoreError> {
        let path = self.base.join(file);
        match fs::remove_file(&path) {
            Ok(()) => self.note_change(&path),
            // Perhaps since an attempt that could not be made durable.
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(self.file_failure(&path, &error)),
        }
        for folder in self.folders_of(&path) {
            // Removing a folder fails unless it is empty.
            if *folder == *self.base || fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// A name in the folder of this file is new or gone.
    fn note_change(&self, file: &Path) {
        std_lock(&self.names).unsynced.extend(self.folders_of(file).map(Path::to_owned));
    }

    /// A file is used, which counts as saved from now on. If its subfolder cannot be synced, that
    /// is done with the next change.
    fn note_use(&self, file: &Path) {
        if let Some(parent) = file.parent().filter(|parent| *parent != self.base)
            && self.note_parent(parent, file)
        {
            let _ = self.sync_names();
        }
    }

    /// Returns whether this is the first use of a file's subfolder.
    fn note_parent(&self, parent: &Path, file: &Path) -> bool {
        let is_new = std_lock(&self.names).used.insert(parent.to_owned());
        if is_new {
            self.note_change(file);
        }
        is_new
    }

    /// Makes every name durable that is not.
    fn sync_names(&self) -> Result<(), StoreError> {
        let mut names = std_lock(&self.names);
        while let Some(folder) = names.unsynced.first() {
            match self.sync(folder) {
                // A subfolder that is gone has no names.
                Err(_) if *folder != self.base && !folder.exists() => {}
                synced => synced?,
            }
            names.unsynced.pop_first();
        }
        Ok(())
    }

    /// The folders that contain a file, from the innermost to the store's own.
    fn folders_of<'a>(&self, file: &'a Path) -> impl Iterator<Item = &'a Path> {
        file.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.base))
    }

    /// Makes the names durable that were there when the folder was opened.
    fn make_durable(&self) -> Result<(), StoreError> {
        if self.is_durable.load(Relaxed) {
            return Ok(());
        }
        sync_parents(&self.path).map_err(|error| self.failure(&self.base, &error))?;
        self.sync(&self.base)?;
        self.is_durable.store(true, Relaxed);
        Ok(())
    }

    /// Makes the names in a folder durable.
    fn sync(&self, folder: &Path) -> Result<(), StoreError> {
        sync_folder(folder).map_err(|error| self.failure(folder, &error))
    }

    /// A failure that concerns the folder, and so all files; unless a file is in the place of a
    /// subfolder, which concerns a few.
    fn failure(&self, path: &Path, error: &io::Error) -> StoreError {
        match error.kind() {
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists => self.file_failure(path, error),
            _ => StoreError::Unavailable(self.describe(path, error).into()),
        }
    }

    /// A failure that concerns one file, and not the others; unless it concerns the disk, or the
    /// process.
    fn file_failure(&self, path: &Path, error: &io::Error) -> StoreError {
        let reason = self.describe(path, error).into();
        if concerns_all_files(error) {
            StoreError::Unavailable(reason)
        } else {
            StoreError::Other(reason)
        }
    }

    fn describe(&self, path: &Path, error: &io::Error) -> String {
        let below = path.strip_prefix(&self.base);
        path::describe(&below.map_or(path.to_owned(), |below| self.path.join(below)), error)
    }
}

/// Returns the path by which the files of a folder are reached. A file's name can take up two
/// kilobytes; where they do not fit behind the folder's path, Linux has a short one for a folder
/// that is open.
fn base_of(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    #[cfg(target_os = "linux")]
    if path.as_os_str().len() > LONG_PATH {
        use std::os::fd::AsRawFd as _;

        let handle = File::open(path)?;
        let base = Path::new("/proc/self/fd").join(handle.as_raw_fd().to_string());
        if FileIdentity::of_file(&handle) == FileIdentity::of_path(&base) {
            return Ok((base, Some(handle)));
        }
    }
    Ok((path.to_owned(), None))
}

/// Opens the lock file, read-only if necessary: a read-only folder can be locked and read too.
/// The inner error: it does not exist, and cannot be created because nothing can be written.
fn open_lock(path: &Path) -> io::Result<io::Result<File>> {
    let writable =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let Err(error) = writable else { return Ok(writable) };
    match File::open(path) {
        Err(missing) if is_missing(&missing) && path::is_unwritable(&error) => Ok(Err(error)),
        Err(_) => Err(error),
        lock => Ok(lock),
    }
}
