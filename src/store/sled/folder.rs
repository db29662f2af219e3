//! The folder of a database: its lock, and how it is moved aside.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    store::{
        aside::{self, names_in},
        error::StoreError,
        lock::{LOCK_WAIT, lock_within},
        path,
    },
    sync::log,
};

/// The file that sled keeps its log in, and locks.
pub(super) const DATA_FILE: &str = "db";

/// The file of sled's settings.
pub(super) const SETTINGS: &str = "conf";

/// The beginning of the names of the log's summaries.
pub(super) const SUMMARY: &str = "snap.";

/// The subfolder of pages that are too large for the log.
pub(super) const BLOBS: &str = "blobs";

/// The subfolder for damaged files, in one folder for each repair, named after its time.
pub(super) const DAMAGED: &str = "damaged";

/// The file that says that a sync has failed.
pub(super) const UNSYNCED: &str = "unsynced";

/// The subfolder of the histories, in the folder of the snapshots.
pub(super) const HISTORIES: &str = "history";

/// Moves a corrupt folder to `<folder>.corrupt-<seconds since 1970>`, returns the new path, and
/// removes the oldest of the folders moved earlier if there are too many.
pub(super) fn move_aside(folder: &Path) -> Result<PathBuf, StoreError> {
    let shown = folder.display();
    let unavailable = |reason: String| {
        StoreError::Unavailable(
            format!("{shown} is corrupt and cannot be moved aside: {reason}").into(),
        )
    };
    // Renaming a symbolic link would leave the folder where it is.
    let folder = folder.canonicalize().map_err(|error| unavailable(error.to_string()))?;
    if let Some(foreign) = foreign_file(&folder) {
        return Err(unavailable(format!(
            "it contains {foreign:?}, which is not from sled; move the other files away, or give \
             the store a folder of its own"
        )));
    }
    let lock = lock_data_file(&folder).map_err(|error| {
        unavailable(match error.kind() {
            io::ErrorKind::WouldBlock => "another process holds it".to_owned(),
            _ => format!("its lock cannot be taken: {error}"),
        })
    })?;
    if cfg!(windows) {
        // Windows does not rename a folder that contains an open file.
        drop(lock);
    }
    let kept_as = aside::unused_name(&folder);
    fs::rename(&folder, &kept_as).map_err(|error| {
        let target = kept_as.display();
        unavailable(format!("renaming it to {target} failed: {error}; rename it by hand"))
    })?;
    // sled would create the folder itself, but not behind a symbolic link.
    if let Err(error) = fs::create_dir(&folder) {
        let folder = folder.display();
        log(|| {
            tracing::debug!(target: "tower_breaker", %folder, %error, "creating the folder failed");
        });
    }
    aside::remove_oldest(&folder);
    Ok(kept_as)
}

/// Returns a file in the folder that is not from sled. A store that shares a folder with other
/// files must not move them, or delete them later with the oldest folder kept.
fn foreign_file(folder: &Path) -> Option<String> {
    let is_own = |name: &str| {
        is_own_file(name)
            || matches!(name, BLOBS | HISTORIES | DAMAGED | UNSYNCED)
            || name.strip_prefix(HISTORIES).is_some_and(|rest| rest.starts_with(".corrupt-"))
    };
    names_in(folder).find(|name| !is_own(name))
}

/// Whether a file of a database's folder is from sled.
pub(super) fn is_own_file(name: &str) -> bool {
    matches!(name, DATA_FILE | SETTINGS) || name.starts_with(SUMMARY)
}

/// Whether a file is a summary of the log that is written, or was left unfinished.
pub(super) fn is_partial_summary(name: &str) -> bool {
    name.starts_with(SUMMARY) && name.ends_with(".generating")
}

/// Removes the summary of the log that an interrupted open left unfinished. sled would take it for
/// the newest summary, and for corruption; it holds nothing that the log does not.
pub(super) fn remove_partial_summary(folder: &Path) {
    // Not while another process opens the folder.
    let Ok(_lock) = lock_data_file(folder) else { return };
    for name in names_in(folder) {
        if is_partial_summary(&name) {
            let _ = fs::remove_file(folder.join(name));
        }
    }
}

/// Why nothing in the folder can be repaired, if it can be read: its files cannot be written to, or
/// no others can be made beside them. sled may find it corrupt before it finds that out.
pub(super) fn write_error(folder: &Path) -> Option<io::Error> {
    let opened = OpenOptions::new().write(true).open(folder.join(DATA_FILE));
    let made = opened.and_then(|_| {
        let probe = folder.join(DAMAGED).join("probe");
        fs::create_dir_all(&probe)?;
        fs::remove_dir(&probe)
    });
    // Unless there are files of earlier repairs.
    let _ = fs::remove_dir(folder.join(DAMAGED));
    made.err().filter(path::is_unwritable)
}

/// Waits until sled has released a folder that was closed, or that it failed to open.
pub(super) fn wait_for_lock_release(folder: &Path) {
    drop(lock_data_file(folder));
}

/// Takes the same lock as sled, so that a folder in use is never moved. sled's lock outlives its
/// handle for a moment: tasks in its thread pool keep the file open.
pub(super) fn lock_data_file(folder: &Path) -> io::Result<Option<File>> {
    lock_file_within(folder, LOCK_WAIT)
}

/// Takes the lock, without waiting until another handle releases it.
pub(super) fn lock_data_file_now(folder: &Path) -> io::Result<Option<File>> {
    lock_file_within(folder, Duration::ZERO)
}

fn lock_file_within(folder: &Path, longest: Duration) -> io::Result<Option<File>> {
    let file = match OpenOptions::new().read(true).write(true).open(folder.join(DATA_FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match lock_within(&file, longest) {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::Error(error)) => Err(error),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
    }
}
