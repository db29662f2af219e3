//! Folders of stores.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use super::wait::eventually;

/// Every file and folder below this one.
pub(crate) fn all_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(all_below(&path));
        }
        found.push(path);
    }
    found
}

/// Waits until a store that was dropped has released its folder. All drops of a process wait a
/// second together: after that, a store is closed in the background. And a process that another
/// test starts has the files of this one open until it runs its program.
pub(crate) fn until_released(folder: &Path) {
    let is_free = |path: &Path| {
        let Ok(file) = File::open(path) else { return true };
        !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    };
    eventually("the folder is released", || all_below(folder).iter().all(|path| is_free(path)));
}
