//! Opens sled itself, with the settings of this store.

use std::path::Path;

use ::sled::{Config, Db};

use super::{failure::Failure, folder};

/// Bytes of pages that sled may keep in memory. Its default of a gigabyte is far too much here.
const CACHE_BYTES: u64 = 16 << 20;

pub(super) fn open(folder: &Path) -> Result<Db, Failure> {
    let config = Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let opened = Failure::catch(|| config.open());
    if opened.as_ref().is_err_and(|failure| !failure.is_held()) {
        folder::wait_for_lock_release(folder);
    }
    opened
}
