//! What the stores on disk ask of paths: whether a folder can be there, and whether a file is still the same.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::StoreError;

/// The path as an absolute one, if a folder can be there.
pub(super) fn checked(path: &Path) -> Result<PathBuf, StoreError> {
    let misconfigured = |reason: String| StoreError::Misconfigured(reason.into());
    let path = std::path::absolute(path).map_err(|error| {
        misconfigured(format!("{} is not a usable path: {error}", path.display()))
    })?;
    // A parent that is a file makes what is below it "not a directory", so each step has to be looked at.
    let in_the_way =
        path.ancestors().find(|step| step.metadata().is_ok_and(|found| !found.is_dir()));
    match in_the_way {
        Some(file) => Err(misconfigured(format!(
            "{} is a file; the store needs a folder of its own",
            file.display()
        ))),
        None => Ok(path),
    }
}

/// Which file on which disk a path leads to, to notice that it was removed or replaced.
#[derive(PartialEq, Eq)]
pub(super) struct Identity(Option<(u64, u64)>);

impl Identity {
    pub(super) fn of(path: &Path) -> Self {
        Self(fs::metadata(path).ok().map(|found| identity(&found)))
    }

    pub(super) fn of_open(file: &fs::File) -> Self {
        Self(file.metadata().ok().map(|found| identity(&found)))
    }
}

#[cfg(unix)]
fn identity(found: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (found.dev(), found.ino())
}

/// Elsewhere an open file cannot be replaced, so it is enough that there is one.
#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> (u64, u64) {
    (0, 0)
}
