//! The files of pages that are too large for the log.
//!
//! When sled reads its log, it ends at a page whose file cannot be read, and loses whatever was
//! written after that. A page whose file is missing it skips.

use std::{
    fs::File,
    io::{self, ErrorKind, Read as _},
    path::Path,
};

use super::folder::BLOBS;
use crate::store::{aside::names_in, path};

/// Whether there are such files.
pub(super) fn exist(folder: &Path) -> bool {
    names(folder).next().is_some()
}

fn names(folder: &Path) -> impl Iterator<Item = String> {
    names_in(&folder.join(BLOBS)).filter(|name| name.parse::<i64>().is_ok())
}

/// Those that are damaged, or that a process which was killed has not finished.
///
/// # Errors
///
/// Files that cannot be read now, but perhaps later.
pub(super) fn damaged(folder: &Path) -> io::Result<Vec<String>> {
    let mut damaged = Vec::new();
    for name in names(folder) {
        match is_whole(&folder.join(BLOBS).join(&name)) {
            Ok(true) => {}
            Ok(false) => damaged.push(name),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => damaged.push(name),
            Err(error) if error.raw_os_error() == Some(path::EIO) => damaged.push(name),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(damaged)
}

/// A file begins with the checksum of what follows.
fn is_whole(file: &Path) -> io::Result<bool> {
    let mut file = File::open(file)?;
    let mut expected = [0; 4];
    file.read_exact(&mut expected)?;
    let mut checksum = crc32fast::Hasher::new();
    let mut bytes = vec![0; 1 << 16];
    loop {
        match file.read(&mut bytes) {
            Ok(0) => return Ok(checksum.finalize().to_le_bytes() == expected),
            Ok(length) => checksum.update(&bytes[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
