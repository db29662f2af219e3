//! One redb database: opened when it is needed, closed after a failure, and copied into a new file
//! when it is corrupt.

use std::{
    fs::{self, OpenOptions, TryLockError},
    io, mem,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ::redb::{ReadTransaction, ReadableDatabase as _, WriteTransaction};

use super::{
    engine::{builder, commit, in_memory, open_overlay},
    failure::Failure,
    repair,
};
use crate::{
    metrics,
    process::FirstProcess,
    store::{
        durable::{sync_folder, sync_parents},
        error::StoreError,
        lock::{LOCK_WAIT, lock_within},
        path::{self, FileIdentity},
        release::{release, release_kept},
    },
    sync::{log, std_lock as lock},
};

/// The database, in the store's folder.
const FILE: &str = "breakers.redb";

/// How many operations must fail, in a way that may be corruption, before the database is repaired.
/// A success in between does not reset the count.
const MAX_CORRUPTIONS: u32 = 3;

/// How long a database that cannot be written to answers reads before it is opened again.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Database {
    folder: PathBuf,
    state: Mutex<DatabaseState>,
    user: FirstProcess,
}

#[derive(Default)]
struct DatabaseState {
    open: Option<Open>,
    corruptions: u32,
    /// Whether it was logged that the database cannot be written to, since it last could be.
    is_known_unwritable: bool,
    last_repair: Option<String>,
}

struct Open {
    db: ::redb::Database,
    /// To detect that the file was removed: redb does not.
    file: FileIdentity,
    unwritable: Option<Unwritable>,
}

/// A database that answers reads alone.
struct Unwritable {
    since: Instant,
    /// Why the file could not be replaced, if this is what could be read of a corrupt one. To read
    /// that again takes time, so writes do not try again before reads do.
    salvaged: Option<String>,
}

impl Unwritable {
    fn new(salvaged: Option<String>) -> Self {
        Self { since: Instant::now(), salvaged }
    }

    /// Whether the file is to be tried again.
    fn is_due(&self) -> bool {
        self.since.elapsed() >= RETRY
    }
}

impl DatabaseState {
    fn unwritable(&self) -> Option<&Unwritable> {
        self.open.as_ref()?.unwritable.as_ref()
    }
}

impl Database {
    pub(super) fn new(folder: PathBuf) -> Self {
        release_kept();
        Self { folder, state: Mutex::default(), user: FirstProcess::default() }
    }

    /// In a forked process, the lock may be held forever, and the file is that of the other one.
    fn state(&self) -> Result<MutexGuard<'_, DatabaseState>, StoreError> {
        if self.user.claim() { Ok(lock(&self.state)) } else { Err(path::forked(&self.folder)) }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was last done to make the database usable again.
    pub(super) fn last_repair(&self) -> Option<String> {
        self.state().ok()?.last_repair.clone()
    }

    /// Fails if the file was removed or replaced while it was open.
    pub(super) fn verify(&self) -> Result<(), StoreError> {
        self.check_in_place(&mut *self.state()?)
    }

    /// Reads from the database, also if it cannot be written to.
    pub(super) fn read<T>(
        &self,
        label: &str,
        operation: impl Fn(&ReadTransaction) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let mut state = self.state()?;
        self.check_in_place(&mut state)?;
        if state.unwritable().is_some_and(Unwritable::is_due) {
            Self::close(&mut state);
        }
        let read = |open: &Open| operation(&open.db.begin_read()?);
        let before = state.last_repair.clone();
        match self.run(&mut state, label, true, read) {
            // It was repaired, or copied: what is left can be read.
            Err(_) if state.last_repair != before || state.open.is_some() => {
                self.run(&mut state, label, true, read)
            }
            result => result,
        }
    }

    /// Runs an operation that writes, and returns once its result is durable.
    pub(super) fn write(
        &self,
        label: &str,
        operation: impl FnOnce(&WriteTransaction) -> Result<(), Failure>,
    ) -> Result<(), StoreError> {
        let mut state = self.state()?;
        self.check_in_place(&mut state)?;
        if let Some(unwritable) = state.unwritable() {
            if let Some(reason) = unwritable.salvaged.clone()
                && !unwritable.is_due()
            {
                return Err(StoreError::Unavailable(reason.into()));
            }
            Self::close(&mut state);
        }
        self.run(&mut state, label, false, |open| commit(&open.db, operation))
    }

    /// After a failure the handle is dropped: once a write has failed (on a full disk, for
    /// example), all writes of that handle fail, and only a new handle recovers.
    fn run<T>(
        &self,
        state: &mut DatabaseState,
        label: &str,
        only_reads: bool,
        operation: impl FnOnce(&Open) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let open = match &state.open {
            Some(open) => open,
            None => self.open(state, label, only_reads)?,
        };
        let failure = match Failure::catch(|| operation(open)) {
            // The count stays: one damaged page fails each time, between operations that do not
            // touch it.
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        Self::close(state);
        if failure.is_corruption() {
            state.corruptions += 1;
            if failure.is_certain() || state.corruptions >= MAX_CORRUPTIONS {
                state.corruptions = 0;
                self.repair(state, label, &failure)?;
            }
        }
        Err(failure.into_store_error(&self.folder))
    }

    fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// Fails once if the file was removed or replaced. The check costs one `stat`.
    fn check_in_place(&self, state: &mut DatabaseState) -> Result<(), StoreError> {
        let is_in_place = |open: &Open| FileIdentity::of_path(&self.file()) == open.file;
        if state.open.as_ref().is_none_or(is_in_place) {
            return Ok(());
        }
        Self::close(state);
        Err(path::removed(&self.folder))
    }

    fn open<'a>(
        &self,
        state: &'a mut DatabaseState,
        label: &str,
        only_reads: bool,
    ) -> Result<&'a Open, StoreError> {
        // One of them may hold this file.
        release_kept();
        let opened = match self.try_open() {
            Err(failure) if failure.is_corruption() => {
                self.repair(state, label, &failure)?;
                match state.unwritable().and_then(|unwritable| unwritable.salvaged.clone()) {
                    // It stays open for the reads to come.
                    Some(reason) if !only_reads => {
                        return Err(StoreError::Unavailable(reason.into()));
                    }
                    _ => state.open.take().map_or_else(|| self.try_open(), Ok),
                }
            }
            Err(failure) if only_reads && failure.is_unwritable() => {
                self.open_unwritable(state).map_err(|_| failure)
            }
            opened => opened,
        };
        let open = opened.map_err(|failure| failure.into_store_error(&self.folder))?;
        state.is_known_unwritable &= open.unwritable.is_some();
        Ok(state.open.insert(open))
    }

    fn try_open(&self) -> Result<Open, Failure> {
        fs::create_dir_all(&self.folder).map_err(Failure::Io)?;
        sync_parents(&self.folder).map_err(Failure::Sync)?;
        repair::complete(&self.folder, &self.file()).map_err(Failure::Io)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(self.file()).map_err(Failure::Io)?;
        // redb takes this lock too, but goes on without locks where there are none.
        match lock_within(&file, LOCK_WAIT) {
            Ok(()) => file.unlock().map_err(Failure::Io)?,
            Err(TryLockError::WouldBlock) => {
                return Err(::redb::Error::DatabaseAlreadyOpen.into());
            }
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                return Err(Failure::NoLocks(error));
            }
            Err(TryLockError::Error(error)) => return Err(Failure::Io(error)),
        }
        let identity = FileIdentity::of_file(&file);
        let db = Failure::catch(|| Ok(builder().create_file(file)?))?;
        sync_folder(&self.folder).map_err(Failure::Sync)?;
        Ok(Open { db, file: identity, unwritable: None })
    }

    fn open_unwritable(&self, state: &mut DatabaseState) -> Result<Open, Failure> {
        let (db, file) = open_overlay(&self.file())?;
        if !mem::replace(&mut state.is_known_unwritable, true) {
            log(|| {
                tracing::warn!(
                    target: "tower_breaker",
                    folder = %self.folder.display(),
                    "redb database cannot be written to: it is opened for reading only, and \
                     nothing is saved until that changes; free space on its disk, or make the \
                     folder writable",
                );
            });
        }
        Ok(Open { db, file, unwritable: Some(Unwritable::new(None)) })
    }

    /// Drops the handle, which may write and may panic, and releases the lock.
    fn close(state: &mut DatabaseState) {
        let open = state.open.take();
        let _ = Failure::catch(|| {
            drop(open);
            Ok(())
        });
    }

    /// Answers reads with what could be read of a corrupt file that cannot be replaced.
    fn serve_recovered(
        &self,
        state: &mut DatabaseState,
        db: ::redb::Database,
        failure: &Failure,
        error: &Failure,
    ) {
        let reason = self.not_repaired(failure, error);
        let file = FileIdentity::of_path(&self.file());
        state.open = Some(Open { db, file, unwritable: Some(Unwritable::new(Some(reason))) });
        if !mem::replace(&mut state.is_known_unwritable, true) {
            log(|| {
                tracing::warn!(
                    target: "tower_breaker",
                    folder = %self.folder.display(),
                    reason = %failure,
                    %error,
                    "redb database is corrupt and cannot be replaced: reads are answered with what \
                     could be recovered, nothing is saved, and the replacement is retried; free \
                     space on its disk, or make the folder writable",
                );
            });
        }
    }

    fn not_repaired(&self, failure: &Failure, error: &Failure) -> String {
        let folder = self.folder.display();
        format!("{folder} is corrupt ({failure}), and repair failed: {error}")
    }

    /// Moves the file aside, and puts a new one with all that can be read of it in its place. While
    /// nothing can be written, that is opened in memory, for reads.
    fn repair(
        &self,
        state: &mut DatabaseState,
        label: &str,
        failure: &Failure,
    ) -> Result<(), StoreError> {
        Self::close(state);
        let failed = |error| self.repair_error(failure, error);
        // Locked until the new file is in its place.
        let (_old, saved) = repair::salvage(&self.file()).map_err(failed)?;
        let kept_as = match repair::replace(&self.folder, &self.file(), &saved) {
            // If nothing could be read, an empty database is not served: the file may become
            // readable.
            Err(error) if error.is_unwritable() && !saved.is_empty() => {
                let db = in_memory(&saved).map_err(failed)?;
                self.serve_recovered(state, db, failure, &error);
                return Ok(());
            }
            replaced => replaced.map_err(failed)?,
        };
        let kept = kept_as.display();
        state.last_repair = Some(format!("moved the database aside to {kept}: {failure}"));
        metrics::quarantined(label, "folder");
        repair::warn_replaced(&self.folder, &kept_as, &saved, failure);
        Ok(())
    }

    fn repair_error(&self, failure: &Failure, error: Failure) -> StoreError {
        match error {
            Failure::Redb(::redb::Error::DatabaseAlreadyOpen) => {
                error.into_store_error(&self.folder)
            }
            _ => StoreError::Unavailable(self.not_repaired(failure, &error).into()),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let state = mem::take(self.state.get_mut().unwrap_or_else(PoisonError::into_inner));
        if self.user.is_other() {
            // To close the file would write to it, and release the lock of that process.
            return mem::forget(state);
        }
        if state.open.is_some() {
            release(Closing(state));
        }
    }
}

/// What a database leaves when it is dropped.
struct Closing(DatabaseState);

impl Drop for Closing {
    fn drop(&mut self) {
        Database::close(&mut self.0);
    }
}
