//! A corrupt database is moved aside, and one with all that can be read of it takes its place.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use ::redb::ReadableDatabase as _;

use super::{
    engine::{builder, commit, open_overlay},
    failure::Failure,
    tables::Salvage,
};
use crate::{
    store::{aside, durable::sync_folder},
    sync::log,
};

/// The new database while a damaged one is copied into it.
const REPAIRED: &str = "breakers.redb.repaired";

/// Completes a repair that was killed between its two renames.
pub(super) fn complete(folder: &Path, file: &Path) -> io::Result<()> {
    let repaired = folder.join(REPAIRED);
    if repaired.exists() && !file.exists() { fs::rename(repaired, file) } else { Ok(()) }
}

/// Locks the file, and reads what can be read of it.
pub(super) fn salvage(file: &Path) -> Result<(File, Salvage), Failure> {
    #[cfg(test)]
    seam::SALVAGES.set(seam::SALVAGES.get() + 1);
    let old = File::open(file).map_err(Failure::Io)?;
    match old.try_lock_shared() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(::redb::Error::DatabaseAlreadyOpen.into()),
        Err(TryLockError::Error(error)) => return Err(Failure::Io(error)),
    }
    let mut saved = Salvage::default();
    let read = Failure::catch(|| {
        let (db, _) = open_overlay(file)?;
        saved = Salvage::of(&db.begin_read()?);
        Ok(())
    });
    if let Err(failure) = read {
        let file = file.display();
        log(|| {
            tracing::debug!(
                target: "tower_breaker", %file, %failure, "reading a corrupt database",
            );
        });
    }
    Ok((old, saved))
}

/// Returns where the old file is now.
pub(super) fn replace(folder: &Path, file: &Path, saved: &Salvage) -> Result<PathBuf, Failure> {
    let repaired = folder.join(REPAIRED);
    // A handle that could not write may panic when it is dropped.
    let replaced = Failure::catch(|| {
        match fs::remove_file(&repaired) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let db = builder().create(&repaired)?;
        commit(&db, |write| saved.write(write))?;
        #[cfg(test)]
        seam::refuse()?;
        drop(db);
        let kept_as = aside::unused_name(file);
        fs::rename(file, &kept_as).map_err(Failure::Io)?;
        fs::rename(&repaired, file).map_err(Failure::Io)?;
        sync_folder(folder).map_err(Failure::Io)?;
        Ok(kept_as)
    });
    let kept_as = replaced.inspect_err(|_| {
        // Else it is all there is, and gets its place when the database is next opened.
        if file.exists() {
            drop(fs::remove_file(&repaired));
        }
    })?;
    aside::remove_oldest(file);
    Ok(kept_as)
}

/// Says that a corrupt database was replaced.
pub(super) fn warn_replaced(folder: &Path, kept_as: &Path, saved: &Salvage, reason: &Failure) {
    let (folder, kept_as) = (folder.display(), kept_as.display());
    let (values, records) = (saved.values.len(), saved.histories.len());
    log(|| {
        tracing::warn!(
            target: "tower_breaker",
            %folder,
            %kept_as,
            %reason,
            values,
            records,
            "redb database is corrupt: moved it aside and copied what can be read into a new one; \
             breakers that start now and whose state is not in it start closed; delete the moved \
             file when it is no longer needed",
        );
    });
}

/// What tests pretend on their own thread.
#[cfg(test)]
pub(super) mod seam {
    use std::{cell::Cell, io};

    use super::Failure;

    /// Why no database can be replaced.
    #[derive(Clone, Copy)]
    pub(crate) enum Refusal {
        Full,
        Panic,
    }

    thread_local! {
        pub(crate) static REFUSES: Cell<Option<Refusal>> = const { Cell::new(None) };
        /// How often it was read what is left of a database.
        pub(crate) static SALVAGES: Cell<u32> = const { Cell::new(0) };
    }

    pub(super) fn refuse() -> Result<(), Failure> {
        match REFUSES.get() {
            None => Ok(()),
            Some(Refusal::Full) => Err(Failure::Io(io::ErrorKind::StorageFull.into())),
            Some(Refusal::Panic) => panic!("as a test wants"),
        }
    }
}
