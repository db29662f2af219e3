//! One sled database: opened when it is needed, closed after a failure, and moved aside when it is
//! corrupt.

use std::{
    mem,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::Duration,
};

use ::sled::{Config, Db, Error as SledError};

use super::{failure::Failure, folder};
use crate::{
    metrics,
    store::{
        error::StoreError,
        path::{self, FileIdentity},
    },
    sync::std_lock as lock,
};

/// Bytes of pages that sled may keep in memory. Its default of a gigabyte is far too much here.
const CACHE_BYTES: u64 = 16 << 20;

/// How many operations on an open folder must fail in a row, in a way that looks like corruption,
/// before the folder is moved aside. A panic in sled can have other causes.
pub(super) const MAX_CORRUPTIONS: u32 = 3;

/// The delay before a folder that looks corrupt is opened once more. sled writes the settings of a
/// new folder before it takes the lock: while another process creates the folder, it can look
/// corrupt for a moment.
const REOPEN_DELAY: Duration = Duration::from_millis(50);

pub(super) struct Database {
    folder: PathBuf,
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    open: Option<Open>,
    /// Failures in a row that look like corruption.
    corruptions: u32,
}

struct Open {
    db: Db,
    /// To detect that the file was removed: sled does not.
    file: FileIdentity,
}

impl Database {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, slot: Mutex::default() }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn exists(&self) -> bool {
        lock(&self.slot).open.is_some() || self.data_file().exists()
    }

    /// Runs an operation on the database, and opens it first if necessary.
    ///
    /// After a failure the handle is dropped: once a write has failed (on a full disk, for
    /// example), all writes of that handle fail, and only a new handle recovers.
    pub(super) fn run<T>(
        &self,
        label: &str,
        operation: impl FnOnce(&Db) -> Result<T, SledError>,
    ) -> Result<T, StoreError> {
        let mut slot = lock(&self.slot);
        self.check_in_place(&mut slot)?;
        let open = match &mut slot.open {
            Some(open) => open,
            empty => empty.insert(self.open(label)?),
        };
        let failure = match Failure::catch(|| operation(&open.db)) {
            Ok(value) => {
                slot.corruptions = 0;
                return Ok(value);
            }
            Err(failure) => failure,
        };
        self.close(&mut slot);
        if failure.is_corruption() {
            slot.corruptions += 1;
            if slot.corruptions >= MAX_CORRUPTIONS {
                slot.corruptions = 0;
                self.move_aside(label, &failure)?;
            }
        }
        Err(failure.into_store_error(&self.folder))
    }

    fn data_file(&self) -> PathBuf {
        self.folder.join(folder::DATA_FILE)
    }

    /// Fails once if the data file was removed or replaced: sled continues to write to a removed
    /// file, and reports success. The check costs one `stat`.
    fn check_in_place(&self, slot: &mut Slot) -> Result<(), StoreError> {
        let is_in_place = |open: &Open| FileIdentity::of_path(&self.data_file()) == open.file;
        if slot.open.as_ref().is_none_or(is_in_place) {
            return Ok(());
        }
        self.close(slot);
        Err(path::removed(&self.folder))
    }

    fn open(&self, label: &str) -> Result<Open, StoreError> {
        let failure = match self.try_open() {
            Ok(open) => return Ok(open),
            Err(failure) if failure.is_corruption() => failure,
            Err(failure) => return Err(failure.into_store_error(&self.folder)),
        };
        thread::sleep(REOPEN_DELAY);
        folder::remove_partial_summary(&self.folder);
        match self.try_open() {
            Ok(open) => return Ok(open),
            Err(again) if again.is_corruption() => self.move_aside(label, &failure)?,
            Err(again) => return Err(again.into_store_error(&self.folder)),
        }
        self.try_open().map_err(|failure| failure.into_store_error(&self.folder))
    }

    fn try_open(&self) -> Result<Open, Failure> {
        let config =
            Config::new().path(&self.folder).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let opened = Failure::catch(|| config.open());
        if opened.as_ref().is_err_and(|failure| !failure.is_locked()) {
            folder::wait_for_lock_release(&self.folder);
        }
        let db = opened?;
        Ok(Open { db, file: FileIdentity::of_path(&self.data_file()) })
    }

    /// Drops the handle, which writes what is left, may panic, and releases the folder's lock.
    fn close(&self, slot: &mut Slot) {
        let Some(open) = slot.open.take() else { return };
        let closed = Failure::catch(|| {
            drop(open);
            Ok(())
        });
        if let Err(failure) = closed {
            let folder = self.folder.display();
            tracing::debug!(target: "tower_breaker", %folder, %failure, "closing a sled folder failed");
        }
        folder::wait_for_lock_release(&self.folder);
    }

    fn move_aside(&self, label: &str, failure: &Failure) -> Result<(), StoreError> {
        let kept_as = folder::move_aside(&self.folder)?;
        metrics::quarantined(label, "folder");
        tracing::warn!(
            target: "tower_breaker",
            folder = %self.folder.display(),
            kept_as = %kept_as.display(),
            reason = %failure,
            "sled folder is corrupt: moved it aside and created a new one; state that is not in \
             memory is lost, so breakers that start now start closed; delete the moved folder when \
             it is no longer needed",
        );
        Ok(())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let mut slot = mem::take(&mut *lock(&self.slot));
        self.close(&mut slot);
    }
}
