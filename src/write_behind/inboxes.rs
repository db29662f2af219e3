//! The inboxes of this process, one for each store.

use std::sync::{Arc, Mutex, Weak};

use super::{
    client::Monitor, content::NewEntry, entries::EntryId, entry::Entry, inbox::Inbox,
    source::SaveSettings,
};
use crate::process::{EachProcess, Process};

static INBOXES: EachProcess<Vec<Weak<Inbox>>> =
    EachProcess::new([const { Mutex::new(Vec::new()) }; 4]);

/// The inboxes of all stores.
pub(super) fn all() -> Vec<Arc<Inbox>> {
    let all = INBOXES.lock();
    all.map_or_else(Vec::new, |inboxes| inboxes.iter().filter_map(Weak::upgrade).collect())
}

/// An entry, and the inbox that it was added to.
pub(super) struct Joined {
    pub(super) inbox: Arc<Inbox>,
    pub(super) new: NewEntry,
    /// Whether the inbox is new, and its writer has yet to be started.
    pub(super) needs_writer: bool,
}

/// Adds an entry to the inbox of a store. If there is none, or it takes no more entries, there is a
/// new one.
///
/// In a forked process, an inbox of the other one may be locked forever. An entry for its store
/// has an inbox of its own there, which says the same: nothing is saved. So it is if this process
/// has no list.
pub(super) fn join(
    store_id: usize,
    settings: SaveSettings,
    make_entry: &dyn Fn(EntryId) -> Entry,
    make_monitor: impl FnOnce() -> Monitor,
) -> Joined {
    let join_new = |process, needs_writer| {
        let (inbox, new) = Inbox::new(store_id, process, make_monitor(), settings, make_entry);
        Joined { inbox, new, needs_writer }
    };
    loop {
        let Some(mut inboxes) = INBOXES.lock() else { return join_new(Process::none(), false) };
        let found = inboxes.iter().filter_map(Weak::upgrade).find(|it| it.store_id == store_id);
        if let Some(inbox) = found {
            if inbox.is_forked() {
                return join_new(inbox.process, false);
            }
            if let Some(new) = inbox.join(settings, make_entry) {
                return Joined { inbox, new, needs_writer: false };
            }
        }
        if inboxes.claim() {
            let joined = join_new(Process::current(), true);
            inboxes.retain(|inbox| inbox.strong_count() > 0);
            inboxes.push(Arc::downgrade(&joined.inbox));
            return joined;
        }
    }
}

/// The inbox of a store.
#[cfg(test)]
pub(super) fn find(store_id: usize) -> Option<Arc<Inbox>> {
    all().into_iter().find(|inbox| inbox.store_id == store_id)
}

impl Inbox {
    /// Takes the inbox off the list: the next breaker on the store starts another writer.
    pub(super) fn unlist(&self) {
        if let Some(mut inboxes) = INBOXES.lock() {
            inboxes.retain(|inbox| inbox.strong_count() > 0 && !std::ptr::eq(inbox.as_ptr(), self));
        }
    }
}
