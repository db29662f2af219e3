//! The handles of a database: how they are opened, and how they are closed after a failure or when
//! the database is dropped.

use std::path::{Path, PathBuf};

use ::sled::Db;

use super::{
    disk::Disk,
    engine,
    failure::Failure,
    folder::{self, BLOBS},
    read_copy::ReadCopy,
};
use crate::{
    store::{path::FileIdentity, release::release},
    sync::log,
};

/// The handles that are open.
#[derive(Default)]
pub(super) struct Handles {
    pub(super) open: Option<Open>,
    /// Answers reads while the folder can be read and not written to.
    pub(super) copy: Option<ReadCopy>,
}

/// A database that can be read and written to.
pub(super) struct Open {
    pub(super) db: Db,
    pub(super) disk: Disk,
    /// To detect that the file was removed: sled does not.
    pub(super) file: FileIdentity,
}

impl Open {
    pub(super) fn new(folder: &Path) -> Result<Self, Failure> {
        let db = engine::open(folder)?;
        match Disk::open(folder) {
            Ok(disk) => Ok(Self { db, disk, file: FileIdentity::of_path(&data_file(folder)) }),
            Err(error) => {
                close(folder, db);
                Err(Failure::Sync(error))
            }
        }
    }

    /// Whether the file was neither removed nor replaced, and the subfolder is there: without it,
    /// sled waits forever when it writes a large page. Costs two `stat`.
    pub(super) fn is_in_place(&self, folder: &Path) -> bool {
        FileIdentity::of_path(&data_file(folder)) == self.file && folder.join(BLOBS).is_dir()
    }
}

impl Handles {
    pub(super) fn close(&mut self, folder: &Path) {
        if let Some(open) = self.open.take() {
            close(folder, open.db);
        }
    }

    /// The next read does not use an older copy, so that only takes up space.
    pub(super) fn drop_old_copy(&mut self) {
        if self.copy.as_ref().is_some_and(ReadCopy::is_old) {
            self.drop_copy();
        }
    }

    /// Dropping a handle of sled may panic.
    pub(super) fn drop_copy(&mut self) {
        let copy = self.copy.take();
        let _ = Failure::catch(|| {
            drop(copy);
            Ok(())
        });
    }

    /// Closes the handles of a database that is dropped.
    pub(super) fn release(self, folder: PathBuf) {
        if self.open.is_some() || self.copy.is_some() {
            release(Closing { folder, handles: self });
        }
    }
}

/// The file that exists once the database does.
pub(super) fn data_file(folder: &Path) -> PathBuf {
    folder.join(folder::DATA_FILE)
}

/// Drops the handle, which writes what is left, may panic, and releases the folder's lock.
fn close(folder: &Path, db: Db) {
    let closed = Failure::catch(|| {
        drop(db);
        Ok(())
    });
    if let Err(failure) = closed {
        let folder = folder.display();
        log(|| {
            tracing::debug!(
                target: "tower_breaker", %folder, %failure, "closing a sled folder failed"
            );
        });
    }
    folder::wait_for_lock_release(folder);
}

/// What a database leaves when it is dropped.
struct Closing {
    folder: PathBuf,
    handles: Handles,
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.handles.close(&self.folder);
        self.handles.drop_copy();
    }
}
