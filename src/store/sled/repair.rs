//! How a folder that sled cannot open is repaired, with the least lost first.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::folder::{self, DAMAGED};
use crate::store::{aside, error::StoreError};

/// How many repairs keep their files.
const MAX_KEPT: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repair {
    /// Reads the log without its summaries, which hold nothing that the log does not.
    Summaries,
    /// Reads the log with new settings. All folders of this store have the same.
    Settings,
    /// Starts with a new folder. What the old one held is lost to this process.
    Folder,
}

impl Repair {
    pub(super) const ALL: [Self; 3] = [Self::Summaries, Self::Settings, Self::Folder];

    /// Those that lose nothing.
    pub(super) const OF_FILES: [Self; 2] = [Self::Summaries, Self::Settings];

    /// The files that are moved aside, for messages.
    pub(super) const fn files(self) -> &'static str {
        match self {
            Self::Summaries => "its summaries of the log (snap.*)",
            Self::Settings => "its settings (conf)",
            Self::Folder => "the folder",
        }
    }

    /// Returns where the files are now. `None`: there are none.
    pub(super) fn make(self, folder: &Path) -> Result<Option<PathBuf>, StoreError> {
        match self {
            Self::Folder => folder::move_aside(folder).map(Some),
            Self::Summaries | Self::Settings => self.move_files_aside(folder),
        }
    }

    fn concerns(self, name: &str) -> bool {
        match self {
            Self::Summaries => name.starts_with(folder::SUMMARY),
            Self::Settings => name == folder::SETTINGS,
            Self::Folder => false,
        }
    }

    /// Removes the files from a copy. Returns whether there were any.
    pub(super) fn remove_files(self, copy: &Path) -> bool {
        let files = aside::names_in(copy).filter(|name| self.concerns(name));
        files.filter(|name| fs::remove_file(copy.join(name)).is_ok()).count() > 0
    }

    /// Moves the files into the subfolder for damaged files.
    fn move_files_aside(self, folder: &Path) -> Result<Option<PathBuf>, StoreError> {
        let failed = |error: io::Error| {
            let (folder, files) = (folder.display(), self.files());
            let reason = format!("{folder} is damaged, and moving {files} aside failed: {error}");
            StoreError::Unavailable(reason.into())
        };
        let _lock = folder::lock_data_file(folder).map_err(failed)?;
        let files: Vec<_> = aside::names_in(folder).filter(|name| self.concerns(name)).collect();
        if files.is_empty() {
            return Ok(None);
        }
        let damaged = folder.join(DAMAGED);
        let newest = repairs(&damaged).last().copied();
        // The names sort by age.
        let now = aside::now();
        let time = newest.map_or(now, |newest| now.max(newest.saturating_add(1)));
        let kept_in = damaged.join(time.to_string());
        fs::create_dir_all(&kept_in).map_err(failed)?;
        for name in files {
            fs::rename(folder.join(&name), kept_in.join(&name)).map_err(failed)?;
        }
        remove_oldest(&damaged);
        Ok(Some(kept_in))
    }
}

/// The times of the repairs whose files are kept, oldest first.
fn repairs(damaged: &Path) -> Vec<u64> {
    let mut times: Vec<u64> =
        aside::names_in(damaged).filter_map(|name| name.parse().ok()).collect();
    times.sort_unstable();
    times
}

fn remove_oldest(damaged: &Path) {
    let times = repairs(damaged);
    for time in &times[..times.len().saturating_sub(MAX_KEPT)] {
        let _ = fs::remove_dir_all(damaged.join(time.to_string()));
    }
}
