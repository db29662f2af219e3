//! A temporary copy of a folder that can be read and not written to: sled opens no such folder.

use std::{
    env,
    fs::{self, File, Metadata, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use ::sled::Db;

use super::{
    engine,
    failure::Failure,
    folder::{self, BLOBS, DATA_FILE},
    repair::Repair,
    unreadable::is_unreadable,
};
use crate::{
    clock::wall,
    store::{
        aside::names_in,
        error::StoreError,
        path::{self, FileIdentity},
    },
    sync::log,
};

/// The largest folder that is copied.
pub(super) const MAX_BYTES: u64 = 256 << 20;

/// How long the copy answers before the folder itself is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The beginning of the names of copies.
pub(super) const PREFIX: &str = "tower-breaker-copy-";

/// The file in a copy that its process has locked. sled's own lock comes later.
pub(super) const LOCK: &str = "tower-breaker-lock";

/// The age from which on a copy without a lock file counts as left by a process that was killed. A
/// younger one may be about to get it.
const ABANDONED: Duration = Duration::from_secs(60);

/// Where copies are made: in the temporary folder, or in memory if that is full or read-only too.
const IN_MEMORY: &str = "/dev/shm";

/// An open copy, removed on drop.
pub(super) struct ReadCopy {
    /// Dropped before its folder is removed.
    pub(super) db: Db,
    folder: TemporaryFolder,
    made: Instant,
}

impl ReadCopy {
    /// Copies a folder that no process holds. The outer error says that one does; the inner one why
    /// it could not be copied.
    pub(super) fn of(folder: &Path) -> Result<io::Result<Self>, StoreError> {
        let data = match File::open(folder.join(DATA_FILE)) {
            Ok(data) => data,
            Err(error) => return Ok(Err(error)),
        };
        // Held while the files are copied.
        match data.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(path::held(folder, "SledStore")),
            Err(TryLockError::Error(error)) => return Ok(Err(error)),
        }
        Ok(Self::below(&parents(), folder))
    }

    /// Makes the copy below the first of the parents that takes it.
    pub(super) fn below(parents: &[PathBuf], folder: &Path) -> io::Result<Self> {
        let files = files_of(folder)?;
        let mut result = Err(io::Error::other("there is no temporary folder"));
        for parent in parents {
            result = TemporaryFolder::create(parent).and_then(|copy| {
                // There may be too little space because of them.
                remove_abandoned(parent, &fs::metadata(&copy.path)?);
                fs::create_dir(copy.path.join(BLOBS))?;
                for file in &files {
                    copy_file(&folder.join(file), &copy.path.join(file))?;
                }
                let db = open(&copy.path).map_err(io::Error::other::<Failure>)?;
                Ok(Self { db, folder: copy, made: Instant::now() })
            });
            if result.is_ok() {
                break;
            }
        }
        result
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// Whether it is time to try the folder itself again.
    pub(super) fn is_old(&self) -> bool {
        self.made.elapsed() >= RETRY
    }
}

/// Opens a copy, without the files that a repair would move aside if need be.
fn open(copy: &Path) -> Result<Db, Failure> {
    Repair::LargePages.remove_files(copy);
    let mut opened = engine::open(copy);
    for repair in Repair::OF_FILES {
        if !opened.as_ref().is_err_and(Failure::is_corruption) {
            break;
        }
        if repair.remove_files(copy) {
            opened = engine::open(copy);
        }
    }
    opened
}

fn parents() -> [PathBuf; 2] {
    [env::temp_dir(), PathBuf::from(IN_MEMORY)]
}

/// The files of a database, relative to its folder.
pub(super) fn files_of(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let is_needed = |name: &String| folder::is_own_file(name) && !folder::is_partial_summary(name);
    // The log can be read without the others.
    let is_readable = |name: &String| name == DATA_FILE || !is_unreadable(&folder.join(name));
    let own = names_in(folder).filter(is_needed).filter(is_readable);
    let blobs = folder.join(BLOBS);
    let blobs = names_in(&blobs).map(|name| Path::new(BLOBS).join(name));
    let files: Vec<PathBuf> = own.map(PathBuf::from).chain(blobs).collect();
    let mut bytes = 0;
    for file in &files {
        bytes += fs::metadata(folder.join(file))?.len();
    }
    if bytes > MAX_BYTES {
        let reason = format!("{bytes} bytes are too many to copy; at most {MAX_BYTES}");
        return Err(io::Error::new(ErrorKind::FileTooLarge, reason));
    }
    Ok(files)
}

/// Copies the content alone: the copy has to be writable.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    io::copy(&mut File::open(from)?, &mut File::create_new(to)?).map(drop)
}

/// A folder that only this user can read, removed on drop.
struct TemporaryFolder {
    path: PathBuf,
    /// Tells other processes that the folder is in use.
    lock: Option<File>,
}

impl TemporaryFolder {
    fn create(parent: &Path) -> io::Result<Self> {
        let path = parent.join(format!("{PREFIX}{:016x}", fastrand::u64(..)));
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        let mut folder = Self { path, lock: None };
        let path = folder.path.join(LOCK);
        let lock = File::create_new(&path)?;
        match lock.try_lock() {
            // Another process takes the folder for an abandoned one, and removes it.
            Err(TryLockError::WouldBlock) => return Err(ErrorKind::WouldBlock.into()),
            // Without locks, the folder always counts as in use.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        if FileIdentity::of_path(&path) != FileIdentity::of_file(&lock) {
            return Err(ErrorKind::NotFound.into());
        }
        folder.lock = Some(lock);
        Ok(folder)
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        folder::wait_for_lock_release(&self.path);
        let removed = fs::remove_dir_all(&self.path);
        // Until now, it counted as in use.
        self.lock = None;
        if let Err(error) = removed {
            let folder = self.path.display();
            log(|| {
                tracing::debug!(target: "tower_breaker", %folder, %error, "removing a copy failed");
            });
        }
    }
}

/// Removes the copies that killed processes have left, once in this process. Another process may
/// have run out of disk space, and this one start with enough of it, so that it makes no copy.
pub(super) fn remove_abandoned_once() {
    // Nothing waits for the first call: this process may be forked from one that makes it.
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    if IS_DONE.swap(true, Relaxed) {
        return;
    }
    // The owner of this folder is the user of the process, where it exists.
    let Ok(own) = fs::metadata("/proc/self") else { return };
    for parent in parents() {
        remove_abandoned(&parent, &own);
    }
}

/// Removes the copies below `parent` that killed processes have left, if they have the same owner
/// as `own`.
pub(super) fn remove_abandoned(parent: &Path, own: &Metadata) {
    for name in names_in(parent).filter(|name| name.starts_with(PREFIX)) {
        let path = parent.join(name);
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        if !found.is_dir() || !has_same_owner(&found, own) {
            continue;
        }
        // Held while the copy is removed: its process may just be about to lock it.
        let _lock = match File::open(path.join(LOCK)) {
            Ok(lock) if lock.try_lock_shared().is_ok() => Some(lock),
            Err(error) if error.kind() == ErrorKind::NotFound && is_old(&found) => None,
            _ => continue,
        };
        let _ = fs::remove_dir_all(&path);
    }
}

fn is_old(found: &Metadata) -> bool {
    let age = found.modified().ok().and_then(|at| wall().duration_since(at).ok());
    age.is_some_and(|age| age >= ABANDONED)
}

#[cfg(unix)]
fn has_same_owner(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    one.uid() == other.uid()
}

/// Elsewhere each user has a temporary folder of their own.
#[cfg(not(unix))]
fn has_same_owner(_: &Metadata, _: &Metadata) -> bool {
    true
}
