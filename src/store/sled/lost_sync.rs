//! Syncs that have failed.
//!
//! After one, the system may count what it could not write as written, and show it all the same for
//! as long as it is in its cache: the next sync succeeds, and the log on the disk has a gap. A file
//! says so to the process that opens the folder next.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
};

use super::{
    folder::{BLOBS, UNSYNCED, lock_data_file},
    unreadable::is_unreadable,
};
use crate::store::aside::names_in;

/// A sync has failed.
pub(super) fn note(folder: &Path) {
    // A disk that does not take the file is noticed by the next process itself.
    let _ = File::create(folder.join(UNSYNCED));
}

/// Whether a sync has failed since everything was last written again.
pub(super) fn is_noted(folder: &Path) -> bool {
    folder.join(UNSYNCED).exists()
}

/// Writes all files of a database again as they read now, each in its place.
///
/// Fails with `WouldBlock` if another handle has the folder.
pub(super) fn write_again(folder: &Path) -> io::Result<()> {
    let _lock = lock_data_file(folder)?;
    for folder in [folder.to_owned(), folder.join(BLOBS)] {
        for name in names_in(&folder) {
            let path = folder.join(&name);
            // Such a file is moved aside when the folder is opened.
            let is_repaired = is_repairable(&name) && is_unreadable(&path);
            if path.is_file() && !is_repaired {
                write_file_again(&path)?;
            }
        }
    }
    match fs::remove_file(folder.join(UNSYNCED)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Whether nothing is in this file that is not in the log.
fn is_repairable(name: &str) -> bool {
    name == "conf" || name.starts_with("snap.")
}

fn write_file_again(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut bytes = vec![0; 1 << 16];
    loop {
        let place = file.stream_position()?;
        let length = file.read(&mut bytes)?;
        if length == 0 {
            return file.sync_all();
        }
        file.seek(SeekFrom::Start(place))?;
        file.write_all(&bytes[..length])?;
    }
}
