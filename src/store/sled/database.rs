//! One sled database: opened when it is needed, closed after a failure, and repaired or moved aside
//! when it is corrupt.

use std::{
    io, mem,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use ::sled::{Db, Error as SledError};

use super::{
    failure::Failure,
    folder,
    handles::{self, Handles, Open},
    lost_sync,
    read_copy::{self, ReadCopy},
    repair::Repair,
};
use crate::{
    metrics,
    process::FirstProcess,
    store::{error::StoreError, path, release::release_kept},
    sync::{log, std_lock as lock},
};

/// How many operations on an open folder must fail in a row, in a way that looks like corruption,
/// before the folder is repaired. A panic in sled can have other causes.
pub(super) const MAX_CORRUPTIONS: u32 = 3;

/// The delay before a folder that looks corrupt is opened once more. sled writes the settings of a
/// new folder before it takes the lock: while another process creates the folder, it can look
/// corrupt for a moment.
const REOPEN_DELAY: Duration = Duration::from_millis(50);

/// A failure later than this after a repair counts as new damage.
const REPAIRED_BY_SUMMARIES: Duration = Duration::from_secs(60);

pub(super) struct Database {
    folder: PathBuf,
    state: Mutex<DatabaseState>,
    user: FirstProcess,
}

#[derive(Default)]
struct DatabaseState {
    handles: Handles,
    /// Failures in a row that look like corruption.
    corruptions: u32,
    /// When the log's summaries were moved aside because operations kept failing.
    without_summaries: Option<Instant>,
    /// A sync has failed, and not everything was written again since.
    lost_sync: bool,
    last_repair: Option<String>,
}

impl Database {
    pub(super) fn new(folder: PathBuf) -> Self {
        release_kept();
        Self { folder, state: Mutex::default(), user: FirstProcess::default() }
    }

    /// In a forked process, the lock may be held forever, and the database has no threads.
    fn state(&self) -> Result<MutexGuard<'_, DatabaseState>, StoreError> {
        if self.user.claim() {
            Ok(lock(&self.state))
        } else {
            Err(Failure::Forked.into_store_error(&self.folder))
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn exists(&self) -> bool {
        let is_open = |state: MutexGuard<'_, DatabaseState>| state.handles.open.is_some();
        self.state().is_ok_and(is_open) || handles::data_file(&self.folder).exists()
    }

    /// Reads from the database. Opens it first if necessary, or a copy of it if it cannot be
    /// written to.
    pub(super) fn read<T>(
        &self,
        label: &str,
        operation: impl FnOnce(&Db) -> Result<T, SledError>,
    ) -> Result<T, StoreError> {
        let mut state = self.state()?;
        self.check_in_place(&mut state)?;
        state.handles.drop_old_copy();
        if state.handles.open.is_none()
            && state.handles.copy.is_none()
            && let Err(failure) = self.open(&mut state, label)?
        {
            if !failure.is_unwritable() {
                return Err(failure.into_store_error(&self.folder));
            }
            state.handles.copy = Some(self.copy(failure)?);
        }
        match &state.handles.copy {
            Some(copy) => Failure::catch(|| operation(&copy.db))
                .map_err(|failure| failure.into_store_error(&self.folder)),
            None => self.run(&mut state, label, |open| Failure::catch(|| operation(&open.db))),
        }
    }

    /// Runs an operation on the database itself, never on a copy, so it fails if the folder cannot
    /// be written to. What the operation changes need not be durable.
    pub(super) fn run_in_place<T>(
        &self,
        label: &str,
        operation: impl FnOnce(&Db) -> Result<T, SledError>,
    ) -> Result<T, StoreError> {
        self.write(label, |open| Failure::catch(|| operation(&open.db)))
    }

    /// Runs an operation that writes and flushes, and returns once its result is durable.
    pub(super) fn change_durably(
        &self,
        label: &str,
        operation: impl FnOnce(&Db) -> Result<(), SledError>,
    ) -> Result<(), StoreError> {
        self.write(label, |open| {
            Failure::catch(|| operation(&open.db))?;
            open.disk.sync().map_err(Failure::Sync)
        })
    }

    /// Fails if the folder was removed or replaced while it was open.
    pub(super) fn verify(&self) -> Result<(), StoreError> {
        let mut state = self.state()?;
        state.handles.drop_old_copy();
        self.check_in_place(&mut state)
    }

    /// What was last moved aside.
    pub(super) fn last_repair(&self) -> Option<String> {
        self.state().ok()?.last_repair.clone()
    }

    fn write<T>(
        &self,
        label: &str,
        operation: impl FnOnce(&mut Open) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let mut state = self.state()?;
        state.handles.drop_old_copy();
        self.check_in_place(&mut state)?;
        if state.handles.open.is_none() {
            self.open(&mut state, label)?
                .map_err(|failure| failure.into_store_error(&self.folder))?;
            state.handles.drop_copy();
        }
        self.run(&mut state, label, operation)
    }

    /// After a failure the handle is dropped: once a write has failed (on a full disk, for
    /// example), all writes of that handle fail, and only a new handle recovers.
    fn run<T>(
        &self,
        state: &mut DatabaseState,
        label: &str,
        operation: impl FnOnce(&mut Open) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let Some(open) = &mut state.handles.open else { return Err(path::removed(&self.folder)) };
        let failure = match operation(open) {
            Ok(value) => {
                state.corruptions = 0;
                return Ok(value);
            }
            Err(failure) => failure,
        };
        state.handles.close(&self.folder);
        self.note_lost_sync(state, &failure);
        if failure.is_corruption() || failure.is_missing_file() {
            state.corruptions += 1;
            if state.corruptions >= MAX_CORRUPTIONS {
                state.corruptions = 0;
                self.repair_after(state, label, &failure)?;
            }
        }
        Err(failure.into_store_error(&self.folder))
    }

    /// Fails once if the data file was removed or replaced: sled continues to write to a removed
    /// file, and reports success.
    fn check_in_place(&self, state: &mut DatabaseState) -> Result<(), StoreError> {
        let is_in_place = |open: &Open| open.is_in_place(&self.folder);
        if state.handles.open.as_ref().is_none_or(is_in_place) {
            return Ok(());
        }
        state.handles.close(&self.folder);
        Err(path::removed(&self.folder))
    }

    /// Opens the database, and repairs it if it is corrupt. The inner error is how sled failed to
    /// open it, the outer one any other failure.
    fn open(
        &self,
        state: &mut DatabaseState,
        label: &str,
    ) -> Result<Result<(), Failure>, StoreError> {
        // One of them may hold this folder.
        release_kept();
        read_copy::remove_abandoned_once();
        if state.lost_sync || lost_sync::is_noted(&self.folder) {
            match lost_sync::write_again(&self.folder) {
                Ok(()) => state.lost_sync = false,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(path::held(&self.folder, "SledStore"));
                }
                Err(error) => return Ok(Err(Failure::Sync(error))),
            }
        }
        match Repair::LargePages.move_files_aside(&self.folder) {
            Ok(None) => {}
            Ok(Some(kept)) => {
                self.note_repair(state, Repair::LargePages, label, "wrong checksum", &kept);
            }
            // sled would lose what it cannot read now.
            Err(error) => return Ok(Err(Failure::Error(SledError::Io(error)))),
        }
        let mut result = Open::new(&self.folder);
        if let Err(first) = &result
            && Repair::ALL.iter().any(|repair| repair.may_help(first, &self.folder))
        {
            if let Some(error) = folder::write_error(&self.folder) {
                // Nothing can be repaired in place.
                return Ok(Err(Failure::Error(SledError::Io(error))));
            }
            let first = first.to_string();
            thread::sleep(REOPEN_DELAY);
            folder::remove_partial_summary(&self.folder);
            result = Open::new(&self.folder);
            for repair in Repair::ALL {
                let may_help = |failure: &Failure| repair.may_help(failure, &self.folder);
                if result.as_ref().is_err_and(may_help)
                    && self.repair(state, repair, label, &first)?
                {
                    result = Open::new(&self.folder);
                }
            }
        }
        Ok(match result {
            Ok(open) => {
                state.handles.open = Some(open);
                Ok(())
            }
            Err(failure) => {
                self.note_lost_sync(state, &failure);
                Err(failure)
            }
        })
    }

    fn note_lost_sync(&self, state: &mut DatabaseState, failure: &Failure) {
        if failure.is_lost_sync() {
            state.lost_sync = true;
            lost_sync::note(&self.folder);
        }
    }

    fn copy(&self, failure: Failure) -> Result<ReadCopy, StoreError> {
        let copy = ReadCopy::of(&self.folder)?;
        let copy = copy.map_err(|cause| {
            log(|| {
                tracing::debug!(
                    target: "tower_breaker",
                    folder = %self.folder.display(),
                    %cause,
                    "copying a sled folder that cannot be written to failed",
                );
            });
            failure.into_store_error(&self.folder)
        })?;
        log(|| {
            tracing::warn!(
                target: "tower_breaker",
                folder = %self.folder.display(),
                copy = %copy.folder().display(),
                "sled folder cannot be written to: a temporary copy answers reads, and nothing is \
                 saved until the folder can be opened; free space on its disk, or make it writable",
            );
        });
        Ok(copy)
    }

    /// The folder of the copy that answers reads.
    #[cfg(test)]
    pub(super) fn copy_folder(&self) -> Option<PathBuf> {
        self.state().unwrap().handles.copy.as_ref().map(|copy| copy.folder().to_owned())
    }

    /// The summaries of the log may be at fault; if it fails again soon after, only a new folder
    /// helps.
    ///
    /// A large page whose file is missing is skipped by sled when it reads the log without the
    /// summaries: then it is as it was before.
    fn repair_after(
        &self,
        state: &mut DatabaseState,
        label: &str,
        failure: &Failure,
    ) -> Result<(), StoreError> {
        let reason = failure.to_string();
        let before = state.without_summaries.replace(Instant::now());
        let try_summaries = before.is_none_or(|at| at.elapsed() >= REPAIRED_BY_SUMMARIES);
        if !(try_summaries && self.repair(state, Repair::Summaries, label, &reason)?) {
            state.without_summaries = None;
            self.repair(state, Repair::Folder, label, &reason)?;
        }
        Ok(())
    }

    /// Returns whether there was something to repair.
    fn repair(
        &self,
        state: &mut DatabaseState,
        repair: Repair,
        label: &str,
        reason: &str,
    ) -> Result<bool, StoreError> {
        let kept = repair.make(&self.folder)?;
        if let Some(kept) = &kept {
            self.note_repair(state, repair, label, reason, kept);
        }
        Ok(kept.is_some())
    }

    fn note_repair(
        &self,
        state: &mut DatabaseState,
        repair: Repair,
        label: &str,
        reason: &str,
        kept: &Path,
    ) {
        let (folder, files, kept) = (self.folder.display(), repair.files(), kept.display());
        state.last_repair = Some(format!("moved {files} aside to {kept}: {reason}"));
        if repair == Repair::Folder {
            metrics::quarantined(label, "folder");
            log(|| {
                tracing::warn!(
                    target: "tower_breaker",
                    %folder,
                    kept_as = %kept,
                    reason,
                    "sled folder is corrupt: moved it aside and created a new one; state that is \
                     not in memory is lost, so breakers that start now start closed; delete the \
                     moved folder when it is no longer needed",
                );
            });
        } else {
            log(|| {
                tracing::warn!(
                    target: "tower_breaker",
                    %folder,
                    kept_as = %kept,
                    reason,
                    "sled folder is damaged: moved {files} aside and read the log without; values \
                     of a large page whose own file is missing are older ones now; delete what was \
                     moved when it is no longer needed",
                );
            });
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let handles = mem::take(&mut state.handles);
        if self.user.is_other() {
            // They are that process's.
            return mem::forget(handles);
        }
        handles.release(mem::take(&mut self.folder));
    }
}
