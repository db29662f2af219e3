//! What the stores on disk have in common to make files and their names durable.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::Path,
};

/// Makes the names in a folder durable. Only Unix can open a folder for that.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(test)]
    faults::sync(folder)?;
    if cfg!(unix) { sync_open_folder(&File::open(folder)?) } else { Ok(()) }
}

fn sync_open_folder(folder: &File) -> io::Result<()> {
    match folder.sync_all() {
        // Nothing can be unsynced, or the file system cannot sync folders.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::ReadOnlyFilesystem | ErrorKind::InvalidInput | ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        result => result,
    }
}

/// Makes the name of a folder durable, and those of its parents up to the mount point: a process
/// that was killed may have created them and not synced them.
pub(super) fn sync_parents(folder: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    let folder = folder.canonicalize()?;
    let device = device_of(&fs::metadata(&folder)?);
    for parent in folder.ancestors().skip(1) {
        // Not every parent can be opened.
        let Ok(opened) = File::open(parent) else { continue };
        if device_of(&opened.metadata()?) != device {
            break;
        }
        sync_open_folder(&opened)?;
    }
    Ok(())
}

#[cfg(unix)]
fn device_of(found: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::dev(found)
}

#[cfg(not(unix))]
fn device_of(_: &fs::Metadata) -> u64 {
    0
}

/// Faults of the disk, for tests.
#[cfg(test)]
pub(super) mod faults {
    use std::{
        cell::{Cell, RefCell},
        io,
        path::{Path, PathBuf},
    };

    thread_local! {
        static FAILS: Cell<bool> = const { Cell::new(false) };
        static IS_FULL: Cell<bool> = const { Cell::new(false) };
        static SYNCED: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn sync(folder: &Path) -> io::Result<()> {
        if FAILS.get() {
            return Err(io::Error::other("the disk is sick"));
        }
        SYNCED.with_borrow_mut(|synced| synced.push(folder.to_owned()));
        Ok(())
    }

    /// Whether folders cannot be synced by this thread.
    pub(in super::super) fn fail_syncs(fail: bool) {
        FAILS.set(fail);
    }

    /// Whether disks count as full for this thread.
    #[cfg(feature = "sled")]
    pub(in super::super) fn fill_disks(fill: bool) {
        IS_FULL.set(fill);
    }

    #[cfg(feature = "sled")]
    pub(in super::super) fn are_disks_full() -> bool {
        IS_FULL.get()
    }

    /// The folders that this thread has synced since the last call, sorted.
    pub(in super::super) fn take_synced() -> Vec<PathBuf> {
        let mut synced = SYNCED.take();
        synced.sort();
        synced.dedup();
        synced
    }
}
