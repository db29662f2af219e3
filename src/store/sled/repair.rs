//! Repairs (salvages) a folder that sled cannot open, with the least lost first.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    failure::Failure,
    folder::{self, BLOBS, DAMAGED},
    large,
    unreadable::is_unreadable,
};
use crate::store::{aside, error::StoreError};

/// How many repairs keep their files.
const MAX_KEPT: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repair {
    /// Reads the log without the pages whose own files are damaged.
    LargePages,
    /// Reads the log without its summaries, which hold nothing that the log does not.
    Summaries,
    /// Reads the log with new settings. All folders of this store have the same.
    Settings,
    /// Starts with a new folder. What the old one held is lost to this process.
    Folder,
}

impl Repair {
    /// Those of a folder that cannot be opened.
    pub(super) const ALL: [Self; 3] = [Self::Summaries, Self::Settings, Self::Folder];

    /// Those of a folder that cannot be opened, and that lose nothing.
    pub(super) const OF_FILES: [Self; 2] = [Self::Summaries, Self::Settings];

    /// The files that are moved aside, for messages.
    pub(super) const fn files(self) -> &'static str {
        match self {
            Self::LargePages => "damaged or unfinished files of its large pages (blobs/*)",
            Self::Summaries => "its summaries of the log (snap.*)",
            Self::Settings => "its settings (conf)",
            Self::Folder => "the folder",
        }
    }

    /// Whether this may help after sled has failed to open the folder.
    pub(super) fn may_help(self, failure: &Failure, folder: &Path) -> bool {
        failure.is_corruption()
            || (failure.is_of_a_file()
                && matches!(self, Self::Summaries | Self::Settings)
                && self
                    .files_in(folder)
                    .is_ok_and(|files| files.iter().any(|file| is_unreadable(&folder.join(file)))))
    }

    /// Returns where the files are now. `None`: there are none.
    pub(super) fn make(self, folder: &Path) -> Result<Option<PathBuf>, StoreError> {
        if self == Self::Folder {
            return folder::move_aside(folder).map(Some);
        }
        self.move_files_aside(folder).map_err(|error| {
            let (folder, files) = (folder.display(), self.files());
            let reason = format!("{folder} is damaged, and moving {files} aside failed: {error}");
            StoreError::Unavailable(reason.into())
        })
    }

    /// The files, relative to the folder.
    fn files_in(self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let concerns = |name: &String| match self {
            Self::Summaries => name.starts_with(folder::SUMMARY),
            Self::Settings => name == folder::SETTINGS,
            Self::LargePages | Self::Folder => false,
        };
        if self == Self::LargePages {
            let damaged = large::damaged(folder)?.into_iter();
            return Ok(damaged.map(|name| Path::new(BLOBS).join(name)).collect());
        }
        Ok(aside::names_in(folder).filter(concerns).map(PathBuf::from).collect())
    }

    /// Removes the files from a copy. Returns whether there were any.
    pub(super) fn remove_files(self, copy: &Path) -> bool {
        let files = self.files_in(copy).unwrap_or_default().into_iter();
        files.filter(|file| fs::remove_file(copy.join(file)).is_ok()).count() > 0
    }

    /// Moves the files into the subfolder for damaged files, and returns where they are now.
    pub(super) fn move_files_aside(self, folder: &Path) -> io::Result<Option<PathBuf>> {
        let _lock = if self == Self::LargePages {
            if !large::exist(folder) {
                return Ok(None);
            }
            match folder::lock_data_file_now(folder) {
                // Another process may be writing them.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                locked => locked?,
            }
        } else {
            folder::lock_data_file(folder)?
        };
        let files = self.files_in(folder)?;
        if files.is_empty() {
            return Ok(None);
        }
        let damaged = folder.join(DAMAGED);
        let newest = repairs(&damaged).last().copied();
        // The names sort by age.
        let now = aside::now();
        let time = newest.map_or(now, |newest| now.max(newest.saturating_add(1)));
        let kept_in = damaged.join(time.to_string());
        fs::create_dir_all(&kept_in)?;
        for file in files {
            let name = file.file_name().unwrap_or_default();
            fs::rename(folder.join(&file), kept_in.join(name))?;
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
