//! Breakers whose snapshots cannot be read, on a store of which a part can be reached: a tiered one
//! whose near store is still held by the process before, for instance.
//!
//! A breaker begins with what that part holds, and its snapshot is read as soon as it can be. Until
//! then the state may be older than the snapshot, so only a transition of its own is saved, and
//! only to that part.

use super::{
    client::StoreClient,
    entry::Entry,
    states::{Item, ReadState},
};
use crate::store::SaveEntry;

/// Reads what can be reached of an entry, once. Returns whether anything can be reached.
pub(super) fn load(client: &StoreClient, entry: &Entry) -> bool {
    if entry.is_read_early() {
        return true;
    }
    match client.load_reachable(&entry.key) {
        Ok(None) => entry.set_saved_early(0),
        Ok(Some(bytes)) if entry.restore_early(&bytes) => entry.set_saved_early(0),
        // What is damaged or of a newer release must not be overwritten.
        Ok(Some(_)) => {}
        Err(_) => return false,
    }
    true
}

/// Saves the transitions of entries whose snapshots cannot be read yet. They are saved again once
/// these are read.
pub(super) fn save(client: &StoreClient, items: &[Item]) {
    let may_be_saved = |item: &&Item| {
        item.read == ReadState::Failed && !item.is_discarded && !item.entry.is_suspended()
    };
    let (mut saved, mut snapshots) = (Vec::new(), Vec::new());
    for item in items.iter().filter(may_be_saved) {
        if let Some((encoded, newest)) = item.entry.encode_early() {
            let mut snapshot = SaveEntry::new(item.entry.key.clone(), encoded.value);
            snapshot.ttl = encoded.ttl;
            snapshots.push(snapshot);
            saved.push((&item.entry, newest));
        }
    }
    // What fails is tried again with the next attempt to read.
    if !snapshots.is_empty() && client.save_reachable(&snapshots).is_ok() {
        for (entry, newest) in saved {
            entry.set_saved_early(newest);
        }
    }
}
