//! A temporary copy of a folder that can be read and not written to: sled opens no such folder.

use std::{
    env,
    fs::{self, File, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ::sled::Db;

use super::{
    engine,
    failure::Failure,
    folder::{self, BLOBS, DATA_FILE},
};
use crate::{
    clock::wall,
    store::{aside::names_in, error::StoreError, path},
};

/// The largest folder that is copied.
const MAX_BYTES: u64 = 256 << 20;

/// How long the copy answers before the folder itself is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The beginning of the names of copies.
const PREFIX: &str = "tower-breaker-copy-";

/// The age at which a copy that is not in use counts as left by a process that was killed.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Where copies are made: in the temporary folder, or in memory if that is full or read-only too.
const IN_MEMORY: &str = "/dev/shm";

/// An open copy, removed on drop.
pub(super) struct ReadCopy {
    /// Dropped before its folder is removed.
    pub(super) db: Db,
    _folder: TemporaryFolder,
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
        Ok(Self::make(folder))
    }

    fn make(folder: &Path) -> io::Result<Self> {
        let files = files_of(folder)?;
        let mut result = Err(io::Error::other("there is no temporary folder"));
        for parent in [env::temp_dir(), PathBuf::from(IN_MEMORY)] {
            remove_abandoned(&parent);
            result = TemporaryFolder::create(&parent).and_then(|copy| {
                fs::create_dir(copy.0.join(BLOBS))?;
                for file in &files {
                    copy_file(&folder.join(file), &copy.0.join(file))?;
                }
                let db = engine::open(&copy.0).map_err(io::Error::other::<Failure>)?;
                Ok(Self { db, _folder: copy, made: Instant::now() })
            });
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// Whether it is time to try the folder itself again.
    pub(super) fn is_due(&self) -> bool {
        self.made.elapsed() >= RETRY
    }
}

/// The files of a database, relative to its folder.
fn files_of(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let own = names_in(folder).filter(|name| folder::is_own_file(name));
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
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn create(parent: &Path) -> io::Result<Self> {
        let path = parent.join(format!("{PREFIX}{:016x}", fastrand::u64(..)));
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        folder::wait_for_lock_release(&self.0);
        if let Err(error) = fs::remove_dir_all(&self.0) {
            let folder = self.0.display();
            tracing::debug!(target: "tower_breaker", %folder, %error, "removing a copy failed");
        }
    }
}

/// Removes this user's copies that killed processes have left.
fn remove_abandoned(parent: &Path) {
    for name in names_in(parent).filter(|name| name.starts_with(PREFIX)) {
        let path = parent.join(name);
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        let age = found.modified().ok().and_then(|at| wall().duration_since(at).ok());
        let is_old = found.is_dir() && age.is_some_and(|age| age > ABANDONED);
        let in_use = || File::open(path.join(DATA_FILE)).is_ok_and(|data| data.try_lock().is_err());
        if is_old && !in_use() {
            // Fails for those of other users.
            let _ = fs::remove_dir_all(&path);
        }
    }
}
