//! How a breaker that its group has replaced is forgotten: what its store holds of it is deleted.
//!
//! Otherwise invented keys would fill the store until their snapshots expire. The entry stays until
//! the writer has deleted everything, so that a breaker of the same name that is built meanwhile is
//! read after that. Nothing here waits, or calls a breaker.
//!
//! The store never holds more than twice as many snapshots as the group has breakers: each batch
//! first deletes what is to be deleted, and then saves breakers that the group has.

use std::{sync::Arc, time::Instant};

use super::{
    content::{InboxContent, Lifecycle},
    departure::MAX_DEPARTING,
    entry::Entry,
    inbox::Inbox,
    states::ReadState,
};

impl Inbox {
    /// Forgets a breaker that goes on without the store, and has what the store holds of it
    /// deleted. Returns `false` if there are others of its name: then nothing is done.
    pub(super) fn discard(&self, entry: &Arc<Entry>) -> bool {
        if self.is_forked() {
            return false;
        }
        self.starter.retry();
        let mut content = self.content();
        if entry.is_suspended() || content.owners.has_others(entry) {
            return false;
        }
        drop(content);
        // Its state is not to be taken over by a breaker of its name that is built meanwhile. From
        // here on it is not saved either, unless the writer has noted that it is about to.
        entry.release();
        content = self.content();
        if content.owners.has_others(entry) {
            // One was built meanwhile.
            return false;
        }
        let has_work = if content.may_be_stored(entry) {
            content.discard(entry)
        } else {
            content.remove(entry);
            content.schedule.is_empty()
        };
        drop(content);
        if has_work {
            self.wake.notify_one();
        }
        true
    }
}

impl InboxContent {
    /// Whether the store may hold anything of this breaker that it is worthwhile to delete.
    fn may_be_stored(&self, entry: &Entry) -> bool {
        let may_be_stored = match self.schedule.read_state(entry.id) {
            Some(ReadState::Read) => entry.is_stored() || self.schedule.is_being_saved(entry.id),
            // These are as many as a store that does not answer lets them become.
            Some(ReadState::Unread | ReadState::Failed) => {
                entry.is_stored() || self.schedule.departing() < MAX_DEPARTING
            }
            Some(ReadState::NewerVersion(_)) | None => false,
        };
        self.lifecycle == Lifecycle::Running && may_be_stored
    }

    /// Returns whether it is the first to be discarded: then the writer has work.
    fn discard(&mut self, entry: &Arc<Entry>) -> bool {
        let successor = self.owners.depart(entry);
        debug_assert!(successor.is_none(), "there are no others of its name");
        self.schedule.discard(entry.id, Instant::now())
    }
}
