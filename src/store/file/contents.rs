//! Reads and writes single files, each as a whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
};

/// Reads a regular file. Reading a pipe, for example, might never end.
pub(super) fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(not_regular());
    }
    fs::read(path)
}

/// Writes a file that will replace another one.
pub(super) fn write_new(
    path: &Path,
    content: &[u8],
    replaced: Option<&fs::Metadata>,
) -> io::Result<()> {
    let mut file = File::create(path)?;
    if let Some(replaced) = replaced {
        keep_access(&file, replaced)?;
    }
    file.write_all(content)?;
    file.sync_all()
}

/// Gives a new file the mode and the owner of the one that it will replace.
#[cfg(unix)]
fn keep_access(file: &File, replaced: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};

    let new = file.metadata()?;
    if !new.is_file() || !replaced.is_file() {
        return Ok(());
    }
    // Only root can give a file to another user; others at least give it to the group.
    if new.gid() != replaced.gid() {
        let _ = fchown(file, None, Some(replaced.gid()));
    }
    // Before the file belongs to another user: in a container, root may have the right to give
    // files away, and not that to change those of others.
    if new.mode() != replaced.mode() {
        file.set_permissions(replaced.permissions())?;
    }
    if new.uid() != replaced.uid() {
        let _ = fchown(file, Some(replaced.uid()), None);
    }
    Ok(())
}

#[cfg(not(unix))]
fn keep_access(_: &File, _: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

/// Appends all lines or none. Returns whether the file is new.
pub(super) fn append_lines(path: &Path, lines: &[u8]) -> io::Result<bool> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(not_regular());
    }
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let length = file.metadata()?.len();
    let appended = end_last_line(&mut file, length)
        .and_then(|()| file.write_all(lines))
        .and_then(|()| file.sync_all());
    if appended.is_err() {
        // Frees its space on a full disk.
        let _ = file.set_len(length);
    }
    appended.map(|()| length == 0)
}

/// Ends a partial line, which a process that was killed during a write may have left.
fn end_last_line(file: &mut File, length: u64) -> io::Result<()> {
    let Some(last) = length.checked_sub(1) else { return Ok(()) };
    let mut end = [0];
    file.seek(SeekFrom::Start(last))?;
    file.read_exact(&mut end)?;
    if end == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

fn not_regular() -> io::Error {
    io::Error::other("it is not a regular file; remove it")
}

pub(super) fn is_missing(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}
