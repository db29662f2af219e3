//! redb's handles: how they are opened, and how they write.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use ::redb::{Builder, Database, WriteTransaction, backends::InMemoryBackend};

use super::{failure::Failure, overlay::Overlay, tables::Salvage};
use crate::store::path::FileIdentity;

/// Bytes of pages that redb may keep in memory. Its default of a gigabyte is far too much here.
const CACHE_BYTES: usize = 16 << 20;

pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Writes in one transaction. With the allocator's state in each of them, a file needs no repair
/// after a kill, however large it is.
pub(super) fn commit(
    db: &Database,
    operation: impl FnOnce(&WriteTransaction) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut write = db.begin_write()?;
    write.set_quick_repair(true);
    operation(&write)?;
    write.commit()?;
    Ok(())
}

/// Opens a file without changing it.
pub(super) fn open_overlay(file: &Path) -> Result<(Database, FileIdentity), Failure> {
    let file = File::open(file).map_err(Failure::Io)?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => return Err(::redb::Error::DatabaseAlreadyOpen.into()),
        Err(TryLockError::Error(error)) => return Err(Failure::Io(error)),
        Ok(()) => {}
    }
    let identity = FileIdentity::of_file(&file);
    let overlay = Overlay::over(file).map_err(Failure::Io)?;
    let db = Failure::catch(|| Ok(builder().create_with_backend(overlay)?))?;
    Ok((db, identity))
}

/// A database of what could be read of a damaged one.
pub(super) fn in_memory(saved: &Salvage) -> Result<Database, Failure> {
    Failure::catch(|| {
        let db = builder().create_with_backend(InMemoryBackend::new())?;
        commit(&db, |write| saved.write(write))?;
        Ok(db)
    })
}
