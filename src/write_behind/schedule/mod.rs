//! Which entries have to be read and saved, and when.
//!
//! Each entry has a [`ReadState`], which says what is known about its snapshot in the store, and a
//! [`SaveState`]. An entry that waits for something is in exactly one lane, ordered by time:
//!
//! | lane | holds | a batch takes |
//! |---|---|---|
//! | transitions | dirty entries whose state changed | all of them, as soon as the first is due |
//! | counts | dirty entries whose counts changed | those that are due, and those due soon |
//! | retry | entries that could not be read or saved; first those that changed their state since they could not be read | those that failed before the retry was due; if there are none, some of the others |
//! | discards | entries whose snapshots are to be deleted | all of them, with every batch |
//!
//! ```text
//!          mark                    take                    conclude: saved
//! Clean ----------> Dirty, in a lane ------> Saving ------------------------> Clean
//!                     ^                        | |  conclude: changed again
//!                     |________________________|_|
//!                                              |    conclude: failed
//!                                take (retry)  v
//!                     Saving <------------- Failed, in the retry lane
//! ```
//!
//! Entries of breakers that are gone are part of every batch, and each batch begins with them: a
//! breaker that is built again under the same name has to find the last state of the one before.
//!
//! Nothing here calls a store, a breaker, or takes a lock.

mod batches;
#[cfg(test)]
mod check;
mod scheduled_entry;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use self::scheduled_entry::{Departure, Purpose, ScheduledEntry};
#[cfg(feature = "keyed")]
use super::lanes;
use super::{
    entries::{EntryId, Slab},
    entry::{Entry, Urgency},
    lanes::{Lane, Lanes, Queued},
    source::SaveSettings,
    states::{ReadState, SaveState},
};
use crate::error::FlushError;

/// How long snapshots that are to be deleted wait for others, so that many are deleted in one go.
#[cfg(feature = "keyed")]
const DISCARD_DELAY: Duration = Duration::from_millis(50);

/// What goes before others in a lane is due earlier by this.
const AHEAD: Duration = Duration::from_nanos(1);

#[derive(Default)]
pub(super) struct Schedule {
    slots: Slab<ScheduledEntry>,
    lanes: Lanes,
    /// Entries of breakers that are gone, in the order in which they went.
    departing: BTreeMap<u64, EntryId>,
    /// How many have gone so far.
    departures: u64,
    /// How many entries are not saved.
    pending: usize,
    /// Until when due entries wait for more to come.
    paused_until: Option<Instant>,
    /// Whether the last batch was a retry: others have their turn between two of them.
    has_just_retried: bool,
    /// When a breaker was last dropped whose state was not saved.
    last_drop: Option<Instant>,
    /// What is due by then is saved now.
    hurries_until: Option<Instant>,
    last_hurry: Option<Instant>,
}

impl Schedule {
    /// Adds the entry that `make` returns for its id.
    pub(super) fn insert(
        &mut self,
        settings: SaveSettings,
        make: impl FnOnce(EntryId) -> Entry,
    ) -> Arc<Entry> {
        let slot = self.slots.insert_with(|id| ScheduledEntry {
            entry: Arc::new(make(id)),
            settings,
            read: ReadState::Unread,
            save: SaveState::Clean,
            queued: None,
            is_retried: false,
            departure: None,
        });
        Arc::clone(&slot.entry)
    }

    pub(super) fn remove(&mut self, id: EntryId) -> Option<Arc<Entry>> {
        self.dequeue(id);
        let slot = self.slots.remove(id)?;
        self.pending -= usize::from(slot.is_pending());
        if let Some(departure) = slot.departure {
            self.departing.remove(&departure.number);
        }
        Some(slot.entry)
    }

    pub(super) fn contains(&self, id: EntryId) -> bool {
        self.slots.get(id).is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether there are no entries but those of breakers that are gone.
    pub(super) fn is_deserted(&self) -> bool {
        self.slots.len() == self.departing.len()
    }

    /// The number of entries whose newest state is not saved.
    pub(super) const fn pending(&self) -> usize {
        self.pending
    }

    /// The number of breakers that are gone and whose last state is not saved.
    pub(super) fn departing(&self) -> usize {
        self.departing.len()
    }

    /// The entries of breakers that are gone.
    pub(super) fn departed(&self) -> Vec<Arc<Entry>> {
        let slots = self.departing.values().filter_map(|id| self.slots.get(*id));
        slots.map(|slot| Arc::clone(&slot.entry)).collect()
    }

    pub(super) fn read_state(&self, id: EntryId) -> Option<ReadState> {
        self.slots.get(id).map(|slot| slot.read)
    }

    /// The answer to a flush of an entry that did not fail.
    pub(super) fn flush_result(&self, id: EntryId) -> Result<(), FlushError> {
        if self.is_suspended(id) {
            return Err(FlushError::Superseded);
        }
        match self.read_state(id) {
            Some(ReadState::Read) => Ok(()),
            Some(ReadState::NewerVersion(newer)) => {
                Err(FlushError::NewerSnapshot { version: newer.version })
            }
            Some(ReadState::Unread | ReadState::Failed) | None => {
                Err(FlushError::retried("the snapshot in the store was not read yet"))
            }
        }
    }

    /// Whether the last attempt to save the entry has failed.
    pub(super) fn has_save_failed(&self, id: EntryId) -> bool {
        self.slots.get(id).is_some_and(|slot| slot.is_retried || slot.save == SaveState::Failed)
    }

    /// Some entry.
    pub(super) fn any(&self) -> Option<Arc<Entry>> {
        let mut entries = self.slots.part(0, usize::MAX)?;
        entries.next().map(|(_, slot)| Arc::clone(&slot.entry))
    }

    /// The entries at up to `count` indices from `first` on. `None` past the end.
    pub(super) fn part(
        &self,
        first: usize,
        count: usize,
    ) -> Option<impl Iterator<Item = &Arc<Entry>>> {
        Some(self.slots.part(first, count)?.map(|(_, slot)| &slot.entry))
    }

    /// An entry has been [marked](Entry::mark). Returns `true` if it is due before every other
    /// entry, so that the writer may sleep for too long.
    pub(super) fn mark(&mut self, id: EntryId, urgency: Urgency, now: Instant) -> bool {
        let Some(slot) = self.slots.get_mut(id) else { return false };
        let is_unsavable = matches!(slot.read, ReadState::NewerVersion(_)) || slot.is_discarded();
        if is_unsavable || slot.entry.is_suspended() {
            return false;
        }
        let due = slot.due(urgency, now);
        match (slot.save, slot.queued) {
            (SaveState::Failed, _) | (_, Some((Lane::Retry, _))) => {
                let goes_first = urgency == Urgency::Transition && slot.read == ReadState::Failed;
                self.set_save(id, SaveState::Failed);
                if goes_first {
                    self.retry_first(id, now);
                }
                return false;
            }
            (SaveState::Saving, _) => {}
            (SaveState::Clean | SaveState::Dirty, _) => self.set_save(id, SaveState::Dirty),
        }
        self.queue_by(id, due)
    }

    /// The entry is among the first to be retried: its state can be saved in a part of the store,
    /// and there may be more entries than a retry takes.
    fn retry_first(&mut self, id: EntryId, now: Instant) {
        let first = self.lanes.first(Lane::Retry).map_or(now, |(at, _)| at.min(now));
        self.enqueue(id, (Lane::Retry, first.checked_sub(AHEAD).unwrap_or(first)));
    }

    /// Takes new settings for an entry, and brings forward what they make due earlier.
    pub(super) fn set_settings(
        &mut self,
        id: EntryId,
        settings: SaveSettings,
        now: Instant,
    ) -> bool {
        let Some(slot) = self.slots.get_mut(id) else { return false };
        slot.settings = settings;
        let due = match slot.queued {
            Some((Lane::Transitions, due)) => (slot.due(Urgency::Transition, now), due),
            Some((Lane::Counts, due)) => (slot.due(Urgency::Counts, now), due),
            Some((Lane::Retry | Lane::Discards, _)) | None => return false,
        };
        let ((lane, new), old) = due;
        self.enqueue(id, (lane, new.min(old)))
    }

    /// The snapshot was read.
    pub(super) fn set_read(&mut self, id: EntryId) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.read = ReadState::Read;
        }
    }

    /// An entry is to be read with the next retry.
    pub(super) fn read_later(&mut self, id: EntryId, now: Instant) {
        if let Some(slot) = self.slots.get_mut(id)
            && matches!(slot.read, ReadState::Unread | ReadState::Failed)
            && !slot.entry.is_suspended()
        {
            slot.read = ReadState::Failed;
            if slot.save != SaveState::Clean {
                self.set_save(id, SaveState::Failed);
            }
            self.enqueue(id, (Lane::Retry, now));
        }
    }

    /// The breaker is gone. It is part of every batch from now on.
    pub(super) fn depart(&mut self, id: EntryId, try_until: Instant) {
        self.depart_for(id, Purpose::Save { try_until });
    }

    /// The breaker is gone, and what the store holds of it is to be deleted, with others that are
    /// discarded soon.
    /// Returns whether it is the first of these.
    #[cfg(feature = "keyed")]
    pub(super) fn discard(&mut self, id: EntryId, now: Instant) -> bool {
        self.set_save(id, SaveState::Clean);
        self.dequeue(id);
        self.depart_for(id, Purpose::Discard);
        self.enqueue(id, (Lane::Discards, lanes::after(now, DISCARD_DELAY)))
    }

    fn depart_for(&mut self, id: EntryId, purpose: Purpose) {
        if let Some(slot) = self.slots.get_mut(id) {
            let number = self.departures;
            slot.departure = Some(Departure { number, purpose });
            self.departing.insert(number, id);
            self.departures += 1;
        }
    }

    /// The entry is not saved from now on: its breaker does not own the name, or not yet its state.
    pub(super) fn suspend(&mut self, id: EntryId) {
        self.dequeue(id);
        self.change(id, |slot| {
            slot.save = SaveState::Clean;
            slot.entry.set_suspended(true);
        });
    }

    /// The entry is saved again, at once if its snapshot is known.
    pub(super) fn resume(&mut self, id: EntryId, now: Instant) {
        let slot = self.change(id, |slot| slot.entry.set_suspended(false));
        if let Some(slot) = slot
            && slot.read == ReadState::Read
        {
            slot.entry.mark(Urgency::Transition);
            self.set_save(id, SaveState::Dirty);
            self.queue_by(id, (Lane::Transitions, now));
        }
    }

    /// Whether the entry is not to be saved.
    pub(super) fn is_suspended(&self, id: EntryId) -> bool {
        self.slots.get(id).is_some_and(|slot| slot.entry.is_suspended())
    }

    /// What is known about the snapshot of `from` is known about that of `to`: it is the same.
    pub(super) fn share_read_state(&mut self, from: EntryId, to: EntryId) {
        if let Some(read) = self.read_state(from) {
            self.change(to, |slot| slot.read = read);
        }
    }

    /// The snapshot has to be read after all.
    pub(super) fn set_unread(&mut self, id: EntryId) {
        self.change(id, |slot| slot.read = ReadState::Unread);
    }

    /// Whether the breaker is gone and its last state waits to be saved.
    pub(super) fn is_departing(&self, id: EntryId) -> bool {
        self.slots.get(id).is_some_and(|slot| slot.departure.is_some())
    }

    /// Whether the newest state of the entry is saved. So it is if there is no such entry.
    pub(super) fn is_saved(&self, id: EntryId) -> bool {
        self.slots.get(id).is_none_or(|slot| slot.save == SaveState::Clean)
    }

    /// Whether the entry is saved, and no attempt has failed that is still to be repeated.
    pub(super) fn has_nothing_to_save(&self, id: EntryId) -> bool {
        let is_retried =
            |slot: &ScheduledEntry| slot.queued.is_some_and(|(lane, _)| lane == Lane::Retry);
        self.slots.get(id).is_none_or(|slot| {
            let is_read = slot.read == ReadState::Read;
            slot.save == SaveState::Clean && !(is_read && (is_retried(slot) || slot.is_retried))
        })
    }

    /// Whether a batch is about to save the entry.
    pub(super) fn is_being_saved(&self, id: EntryId) -> bool {
        self.slots.get(id).is_some_and(|slot| slot.save == SaveState::Saving)
    }

    /// Queues up to `count` entries from `first` on to be saved now, except those that have failed
    /// or were not read yet. Returns `false` past the end.
    pub(super) fn save_again(&mut self, first: usize, count: usize, now: Instant) -> bool {
        let Some(part) = self.slots.part(first, count) else { return false };
        let part = part.filter(|(_, slot)| slot.can_be_saved_again());
        let ids: Vec<_> = part.map(|(id, _)| id).collect();
        for id in ids {
            self.mark_again(id);
            self.queue_by(id, (Lane::Transitions, now));
        }
        true
    }

    /// Marks an entry that [can be saved again](ScheduledEntry::can_be_saved_again).
    fn mark_again(&mut self, id: EntryId) {
        self.change(id, |slot| {
            slot.entry.mark(Urgency::Transition);
            slot.save = SaveState::Dirty;
        });
    }

    fn set_save(&mut self, id: EntryId, save: SaveState) {
        self.change(id, |slot| slot.save = save);
    }

    fn change(
        &mut self,
        id: EntryId,
        change: impl FnOnce(&mut ScheduledEntry),
    ) -> Option<&ScheduledEntry> {
        let slot = self.slots.get_mut(id)?;
        let was_pending = slot.is_pending();
        change(slot);
        self.pending = self.pending - usize::from(was_pending) + usize::from(slot.is_pending());
        Some(slot)
    }

    /// Queues the entry, unless it is queued in a lane that comes first, or as early in this one.
    fn queue_by(&mut self, id: EntryId, (lane, due): Queued) -> bool {
        match self.slots.get(id).and_then(|slot| slot.queued) {
            Some((known, _)) if known < lane => false,
            Some((known, at)) if known == lane && at <= due => false,
            Some((_, at)) => self.enqueue(id, (lane, due.min(at))),
            None => self.enqueue(id, (lane, due)),
        }
    }

    /// Returns whether the entry is the first in its lane now.
    fn enqueue(&mut self, id: EntryId, queued: Queued) -> bool {
        self.dequeue(id);
        let Some(slot) = self.slots.get_mut(id) else { return false };
        slot.queued = Some(queued);
        self.lanes.insert(id, queued)
    }

    fn dequeue(&mut self, id: EntryId) -> Option<Lane> {
        let queued = self.slots.get_mut(id)?.queued.take()?;
        self.lanes.remove(id, queued);
        Some(queued.0)
    }
}
