//! What the stores on disk have in common: checks of paths, and messages about them.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::error::StoreError;

/// Returns the absolute path of a folder, which need not exist yet.
pub(super) fn absolute_folder(path: &Path) -> Result<PathBuf, StoreError> {
    let misconfigured = |reason: String| StoreError::Misconfigured(reason.into());
    let path = std::path::absolute(path).map_err(|error| {
        misconfigured(format!("{:?} is not a usable path: {error}", path.display().to_string()))
    })?;
    // Below a file, the metadata of every path is an error. So each ancestor has to be checked.
    let file = path.ancestors().find(|path| path.metadata().is_ok_and(|found| !found.is_dir()));
    match file {
        Some(file) => Err(misconfigured(format!(
            "{} is a file; give the store a folder of its own",
            file.display()
        ))),
        None => Ok(path),
    }
}

/// The error number of a failed sync, among others, on every Unix.
#[cfg(any(feature = "redb", feature = "sled"))]
pub(super) const EIO: i32 = 5;

/// Whether a file operation failed because nothing can be written. Reading may still work.
pub(super) fn is_unwritable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::PermissionDenied
    )
}

/// Describes a failed file operation for an operator: the path, the error, and what to do.
pub(super) fn describe(path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; free up disk space",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "; make the folder writable for this process"
        }
        _ => "",
    };
    format!("{}: {error}{advice}", path.display())
}

/// The message when a folder disappears under an open store. The operation fails once instead of
/// starting a new folder silently: the caller learns that earlier saves are lost, and saves again.
pub(super) fn removed(folder: &Path) -> StoreError {
    let folder = folder.display();
    let reason = format!("{folder} was removed or replaced while in use; it will be created again");
    StoreError::Unavailable(reason.into())
}

/// The message when another store has the folder's lock.
pub(super) fn held(folder: &Path, store: &str) -> StoreError {
    let folder = folder.display();
    let reason = format!(
        "{folder} is held by another process or by another {store} of this one; retrying until it \
         is released"
    );
    StoreError::Unavailable(reason.into())
}

/// The message when another process, from which this one was forked, has used the store first. Both
/// have its files open, and the lock on them.
pub(super) fn forked(folder: &Path) -> StoreError {
    let folder = folder.display();
    let reason = format!(
        "{folder}: this process was forked after the store was first used: open stores, and build \
         circuit breakers, after forking (daemonizing)"
    );
    StoreError::Unavailable(reason.into())
}

/// Identifies the file behind a path, to detect that it was removed or replaced.
#[derive(PartialEq, Eq)]
pub(super) struct FileIdentity(Option<(u64, u64)>);

impl FileIdentity {
    pub(super) fn of_path(path: &Path) -> Self {
        Self(fs::metadata(path).ok().map(|found| identity(&found)))
    }

    pub(super) fn of_file(file: &fs::File) -> Self {
        Self(file.metadata().ok().map(|found| identity(&found)))
    }
}

#[cfg(unix)]
fn identity(found: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (found.dev(), found.ino())
}

/// Elsewhere an open file cannot be replaced, so it is enough that one exists.
#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> (u64, u64) {
    (0, 0)
}
