//! Opens sled itself, with the settings of this store.

use std::path::Path;

use ::sled::{Config, Db};

use super::{failure::Failure, folder, pool};

/// Bytes of pages that sled may keep in memory. Its default of a gigabyte is far too much here.
const CACHE_BYTES: u64 = 16 << 20;

/// Opens a database. If it is held, waits a moment for its release.
pub(super) fn open(folder: &Path) -> Result<Db, Failure> {
    match try_open(folder) {
        Err(failure) if failure.is_held() && folder::lock_data_file(folder).is_ok() => {
            try_open(folder)
        }
        opened => opened,
    }
}

fn try_open(folder: &Path) -> Result<Db, Failure> {
    pool::prepare()?;
    let config = Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let opened = Failure::catch(|| {
        let db = config.open()?;
        // To open a log uses the pool. A new database has none, and starts it with the first flush.
        if !pool::is_started() && !db.was_recovered() {
            db.flush()?;
        }
        Ok(db)
    });
    match &opened {
        Ok(_) => pool::note_start(),
        Err(failure) if failure.is_held() => {}
        Err(_) => folder::wait_for_lock_release(folder),
    }
    opened
}
