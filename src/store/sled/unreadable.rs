//! Files that hold nothing which is not in the log, and that give an error when they are read: a
//! bad sector, a folder in their place, or a link to nowhere.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::Path,
};

use crate::store::path;

/// Whether this file cannot be read, now or later. `false` also if there is none, or if the error
/// may pass.
pub(super) fn is_unreadable(file: &Path) -> bool {
    match fs::metadata(file) {
        Ok(found) if found.is_file() => read(file).is_err_and(|error| is_lasting(&error)),
        Ok(_) => true,
        Err(error) if is_lasting(&error) => true,
        Err(_) => fs::symlink_metadata(file).is_ok_and(|found| found.is_symlink()),
    }
}

fn read(file: &Path) -> io::Result<u64> {
    io::copy(&mut File::open(file)?, &mut io::sink())
}

fn is_lasting(error: &io::Error) -> bool {
    let is_broken = cfg!(unix) && error.raw_os_error() == Some(path::EIO);
    error.kind() == ErrorKind::IsADirectory || is_broken
}
