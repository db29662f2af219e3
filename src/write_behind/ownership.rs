//! How the breakers of one name on a store agree on the one that is saved: the
//! [owner](super::owners).
//!
//! The state of the owner before is taken over by the thread that builds or drops a breaker, from
//! breaker to breaker, without the store: it is newer than what was saved last, and a store that
//! does not answer delays nothing. Locks are not held meanwhile, so other breakers of the name may
//! come and go: then the state is taken from the last one that has it.
//!
//! When the owner goes, its successor may have a state of its own. The later transition decides:
//! the successor takes over what the owner left, unless a call or an operator has changed the
//! successor's state since the owner's last transition. (Those that time makes do not count: every
//! breaker of the name makes them.) The owner's last state is saved by itself, before that of the
//! successor, so that a drop waits for no more than it did without a successor.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use super::{
    content::{InboxContent, NewEntry},
    entries::EntryId,
    entry::{Entry, Urgency},
    inbox::Inbox,
    owners::Joined,
    source::SaveSettings,
    states::{Item, ReadState},
};
use crate::sync::log;

impl Inbox {
    /// Takes over the state of the breaker that owned the name before, if that is still to be done.
    /// Returns whether the snapshot in the store need not be read any more.
    pub(super) fn take_over(&self, entry: &Arc<Entry>) -> bool {
        loop {
            let content = self.content();
            let Some(before) = content.owners.before(entry).map(Arc::clone) else {
                return content.schedule.read_state(entry.id) == Some(ReadState::Read);
            };
            drop(content);
            let is_wanted = || self.content().owners.is_before(&before, entry);
            let is_known = entry.take_over(&before, is_wanted);
            self.content().end_takeover(entry, &before, is_known);
            self.wake.notify_one();
        }
    }

    /// Lets a successor take over from the owner, which is about to go.
    pub(super) fn pass_on(&self, successor: Option<Arc<Entry>>) {
        let Some(successor) = successor else { return };
        if !self.take_over(&successor) {
            self.content().schedule.read_later(successor.id, Instant::now());
            self.wake.notify_one();
        }
        log(|| {
            tracing::info!(
                target: "tower_breaker",
                name = successor.name(),
                "the newer circuit breaker with this name on this store was dropped: the state of \
                 this one is saved again",
            );
        });
    }
}

/// Says that another breaker owns the name now.
pub(super) fn warn_superseded(entry: &Entry) {
    if entry.must_warn() {
        log(|| {
            tracing::warn!(
                target: "tower_breaker",
                name = entry.name(),
                "a second circuit breaker with this name was built on this store: it has taken \
                 over the state and is saved from now on, and this one continues in memory only; \
                 to share one breaker, clone the handle, or else use different names",
            );
        });
    }
}

impl InboxContent {
    /// Adds an entry, which owns its name from now on.
    pub(super) fn join(
        &mut self,
        settings: SaveSettings,
        make_entry: impl FnOnce(EntryId) -> Entry,
    ) -> NewEntry {
        let entry = self.schedule.insert(settings, make_entry);
        let joined = self.owners.join(&entry, SystemTime::now);
        let takes_over = !matches!(joined, Joined::Alone);
        let is_one_departing = takes_over && self.owners.has_departing(&entry);
        let superseded = match joined {
            Joined::Alone => None,
            Joined::Superseded(other) => {
                self.schedule.suspend(entry.id);
                self.share_read(&other, &entry);
                self.schedule.suspend(other.id);
                Some(other)
            }
            Joined::After(other) => {
                self.schedule.suspend(entry.id);
                self.share_read(&other, &entry);
                None
            }
        };
        NewEntry { entry, superseded, takes_over, is_one_departing }
    }

    /// A new entry reads a snapshot that was not read yet, or that it must not overwrite, by
    /// itself.
    fn share_read(&mut self, from: &Entry, to: &Entry) {
        if self.schedule.read_state(from.id) == Some(ReadState::Read) {
            self.schedule.set_read(to.id);
        }
    }

    /// The state of `before` was taken over, or, unless it `is_known`, is to be read from the
    /// store.
    fn end_takeover(&mut self, entry: &Arc<Entry>, before: &Arc<Entry>, is_known: bool) {
        if !self.owners.is_before(before, entry) {
            return;
        }
        self.owners.settle(entry);
        if !is_known {
            self.schedule.set_unread(entry.id);
        }
        if self.owners.superseded_since(entry).is_some() {
            return;
        }
        if !self.schedule.is_departing(before.id) {
            // Else they are written with its last state.
            entry.inherit_history(before);
        }
        self.schedule.resume(entry.id, Instant::now());
    }

    /// The breaker is gone, and its last state is to be saved, unless another one has taken it over
    /// meanwhile. Returns the successor, if there is one.
    pub(super) fn depart(&mut self, entry: &Arc<Entry>, try_until: Instant) -> Option<Arc<Entry>> {
        if entry.is_suspended() {
            return self.remove(entry);
        }
        self.schedule.depart(entry.id, try_until);
        let successor = self.owners.depart(entry)?;
        self.schedule.share_read_state(entry.id, successor.id);
        Some(successor)
    }

    /// Removes an entry. Returns the successor, if there is one.
    pub(super) fn remove(&mut self, entry: &Entry) -> Option<Arc<Entry>> {
        let successor = self.owners.remove(entry);
        if let Some(successor) = &successor {
            self.schedule.share_read_state(entry.id, successor.id);
        }
        self.schedule.remove(entry.id);
        successor
    }

    /// Takes in the result of an item. Returns the entries that the writer is done with.
    pub(super) fn conclude(&mut self, item: &Item, now: Instant) -> Vec<Arc<Entry>> {
        let entry = &item.entry;
        let mut done = Vec::new();
        if let Some(entry) = self.schedule.conclude(item, now) {
            self.owners.remove(&entry);
            done.push(entry);
        }
        if entry.is_suspended() {
            if item.has_failed
                && let Some(owner) = self.owners.owner(entry).map(Arc::clone)
            {
                self.pass_history_on(entry, &owner);
            }
        } else if item.is_saved && self.schedule.is_saved(entry.id) {
            // What breakers of this name that are gone had to say is older.
            for older in self.owners.departed_before(entry) {
                self.pass_history_on(&older, entry);
                self.remove(&older);
                done.push(older);
            }
        }
        done
    }

    /// Lets another entry of the name write the transitions that are still to be written.
    fn pass_history_on(&mut self, from: &Entry, to: &Entry) {
        if to.inherit_history(from) && to.mark(Urgency::Transition) {
            self.schedule.mark(to.id, Urgency::Transition, Instant::now());
        }
    }
}
