//! Fills a far store that was lost, emptied or away with what the near store holds.

use std::{sync::Weak, time::SystemTime};

use crate::{
    clock::wall,
    snapshot::Snapshot,
    store::{entry::SaveEntry, error::StoreError, state_store::StateStore},
};

const PAGE: usize = 512;

/// Saves every snapshot of the near store to the far one. None replaces a circuit that another
/// process has opened there since. Returns whether the near store could be read completely. It is
/// held for no longer than a page is read: the far store may hang.
pub(super) fn copy(near: &Weak<dyn StateStore>, far: &dyn StateStore) -> Result<bool, StoreError> {
    let mut after: Option<String> = None;
    loop {
        // The near store has a health of its own.
        let page = near.upgrade().map(|near| near.load_page(after.as_deref(), PAGE));
        let Some(Ok(page)) = page else { return Ok(false) };
        let is_last = page.len() < PAGE;
        after = page.last().map(|(key, _)| key.clone());
        let now = wall();
        let entries: Vec<_> =
            page.into_iter().filter_map(|(key, value)| entry(key, value, now)).collect();
        far.save_all(&entries)?;
        if is_last {
            return Ok(true);
        }
    }
}

/// `None`: it is no snapshot, or has expired.
fn entry(key: String, value: Vec<u8>, now: SystemTime) -> Option<SaveEntry> {
    let expiry = Snapshot::from_json(&value).ok()?.expiry();
    let entry = SaveEntry::new(key, value).with_unchanged_state();
    match expiry {
        None => Some(entry),
        Some(expiry) => Some(entry.with_ttl(expiry.duration_since(now).ok()?)),
    }
}
