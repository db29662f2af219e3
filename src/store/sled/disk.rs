//! Makes durable what sled has written.
//!
//! On Linux, sled's flush hands the data to the disk without the metadata that leads to them: after
//! a power failure, a log that has grown since then ends where it ended before, and a new folder is
//! empty. An `fdatasync` through another handle on the same file makes up for it. Summaries of the
//! log, and the large pages of earlier versions, are in files of their own, which sled does not
//! sync either, nor their folders.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::folder::{BLOBS, DATA_FILE};
use crate::store::durable::{sync_folder, sync_parents};

/// The files of an open folder, as far as they are durable.
pub(super) struct Disk {
    data: File,
    /// The folder of the log, and that of large pages.
    folders: [Folder; 2],
}

struct Folder {
    path: PathBuf,
    /// The names whose files and entries in the folder are durable. sled writes each of these
    /// files once and never changes it.
    durable: BTreeSet<OsString>,
}

impl Disk {
    /// Makes everything in the folder durable, also what an earlier process left unsynced: what is
    /// read now counts as saved.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        // Windows syncs only what can be written.
        let data = OpenOptions::new().read(true).write(true).open(folder.join(DATA_FILE))?;
        let folders = [folder.to_owned(), folder.join(BLOBS)];
        let folders = folders.map(|path| Folder { path, durable: BTreeSet::new() });
        let mut disk = Self { data, folders };
        disk.sync()?;
        sync_parents(folder)?;
        Ok(disk)
    }

    /// Returns once everything that was written is durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.folders.iter_mut().try_for_each(Folder::sync)?;
        self.data.sync_data()
    }
}

impl Folder {
    /// Syncs the new files, and their names.
    fn sync(&mut self) -> io::Result<()> {
        let mut names = BTreeSet::new();
        let mut has_new = false;
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            // The log is synced each time. The histories are a database of their own.
            let is_new = name != DATA_FILE && !self.durable.contains(&name);
            if is_new && !entry.file_type()?.is_dir() {
                sync_file(&entry.path())?;
            }
            has_new |= !self.durable.contains(&name);
            names.insert(name);
        }
        if has_new {
            sync_folder(&self.path)?;
        }
        self.durable = names;
        Ok(())
    }
}

/// sled removes files at any time: a file that is gone holds nothing that is needed.
fn sync_file(path: &Path) -> io::Result<()> {
    match OpenOptions::new().read(true).write(true).open(path).and_then(|file| file.sync_all()) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
