//! What has to be deleted of a breaker.

use super::keys;
use crate::{snapshot::Snapshot, store::StoreError};

/// The keys under which a snapshot is stored, in the order in which they are to be deleted: nothing
/// else names what continues a snapshot, so that goes first.
pub(super) fn keys_of_snapshot(
    key: &str,
    load: impl FnOnce(&str) -> Result<Option<Vec<u8>>, StoreError>,
) -> Result<Vec<String>, StoreError> {
    let mut keys = Vec::with_capacity(2);
    if let Some(name) = keys::name_of_snapshot(key)
        && load(key)?.is_some_and(|value| Snapshot::may_be_continued(&value))
    {
        keys.push(keys::recent(name));
    }
    keys.push(key.to_owned());
    Ok(keys)
}
