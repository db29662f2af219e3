//! Deletes what a store holds of a breaker.

use super::{client::StoreClient, keys};
use crate::{snapshot::Snapshot, store::StoreError};

/// The keys under which a snapshot is stored, in the order in which they are to be deleted: nothing
/// else names what continues a snapshot, so that goes first.
pub(super) fn keys_of_snapshot(client: &StoreClient, key: &str) -> Result<Vec<String>, StoreError> {
    let mut keys = Vec::with_capacity(2);
    if let Some(name) = keys::name_of_snapshot(key)
        && client.load(key)?.is_some_and(|value| Snapshot::may_be_continued(&value))
    {
        keys.push(keys::recent(name));
    }
    keys.push(key.to_owned());
    Ok(keys)
}

/// Deletes the whole history of the breaker of this name.
pub(super) fn delete_history(client: &StoreClient, name: &str) -> Result<(), StoreError> {
    client.trim(&keys::history(name), u64::MAX, 0)
}
