//! What a batch takes, and what becomes of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    super::{
        entries::EntryId,
        entry::{Entry, Urgency},
        lanes::{Lane, after},
        states::{Item, ReadState, SaveState},
    },
    Schedule,
};

/// The pause between two batches that no caller waits for, so that a burst of transitions makes a
/// few large batches. It is far below the 50 ms within which a transition is to be durable.
const BATCH_PAUSE: Duration = Duration::from_millis(5);

/// The most due entries in a batch. Callers that wait are served after each batch.
const BATCH_LIMIT: usize = 512;

/// Breakers that are dropped within this time of each other are dropped together.
const MASS_DROP: Duration = Duration::from_secs(1);

impl Schedule {
    /// A breaker is dropped whose state is not saved. The second within a second is one of many, as
    /// when a program ends: what has changed until now is saved with it, once a second at most.
    pub(in crate::write_behind) fn note_drop(&mut self, now: Instant) {
        let is_recent = |at: Option<Instant>| {
            at.is_some_and(|at| now.saturating_duration_since(at) < MASS_DROP)
        };
        let is_one_of_many = is_recent(self.last_drop.replace(now));
        if is_one_of_many && !is_recent(self.last_hurry) {
            self.last_hurry = Some(now);
            self.hurries_until = Some(self.interval_after(now));
        }
    }

    /// When counts are due that change now, if the interval is that of those due first.
    fn interval_after(&self, now: Instant) -> Instant {
        let first = self.lanes.first(Lane::Counts).and_then(|(_, id)| self.slots.get(id));
        after(now, first.map(|slot| slot.settings.flush_interval).unwrap_or_default())
    }

    /// When the next batch is due. `retry_at`: when the store is retried; `holds_back`: until then,
    /// nothing else is due.
    pub(in crate::write_behind) fn due(
        &self,
        retry_at: Option<Instant>,
        holds_back: bool,
    ) -> Option<Instant> {
        if holds_back {
            return retry_at;
        }
        let first = |lane| self.lanes.first(lane).map(|(at, _)| at);
        let paused = |due: Instant| self.paused_until.map_or(due, |until| due.max(until));
        // A healthy store has no time for a retry. What is left from before is due.
        let retry = retry_at.or_else(|| first(Lane::Retry));
        let lanes = [Lane::Transitions, Lane::Counts, Lane::Discards];
        let dirty = lanes.map(|lane| first(lane).map(paused));
        dirty.into_iter().chain([retry]).flatten().min()
    }

    /// Takes what is to be retried, and when that was due. `None` if it is not time for that, or if
    /// others wait and have their turn. If nothing can be taken, the retry has to find out whether
    /// the store works in another way.
    pub(in crate::write_behind) fn take_retry(
        &mut self,
        retry_at: Option<Instant>,
        others_wait: bool,
        now: Instant,
    ) -> Option<(Vec<Item>, Instant)> {
        let retry_at = retry_at.or_else(|| Some(self.lanes.first(Lane::Retry)?.0))?;
        let yields = std::mem::take(&mut self.has_just_retried) && others_wait;
        if retry_at > now || yields {
            return None;
        }
        self.has_just_retried = true;
        let mut ids: Vec<_> = self.lanes.until(Lane::Retry, retry_at).take(BATCH_LIMIT).collect();
        if ids.is_empty() {
            ids = self.unsaved_or_any();
        }
        Some((self.take(ids), retry_at))
    }

    /// What shows whether a store saves again whose last error no entry met. Only a save does: a
    /// disk that cannot be written to can often be read.
    fn unsaved_or_any(&mut self) -> Vec<EntryId> {
        let unsaved = [Lane::Transitions, Lane::Counts, Lane::Retry]
            .into_iter()
            .flat_map(|lane| self.lanes.all(lane));
        let unsaved: Vec<_> = unsaved.take(BATCH_LIMIT).collect();
        if !unsaved.is_empty() {
            return unsaved;
        }
        let saved = self.any_saved();
        if let Some(id) = saved {
            self.mark_again(id);
        }
        saved.into_iter().collect()
    }

    fn any_saved(&self) -> Option<EntryId> {
        let mut slots = self.slots.part(0, usize::MAX)?;
        slots.find(|(_, slot)| slot.can_be_saved_again()).map(|(id, _)| id)
    }

    /// Whether everything that failed before this moment was retried.
    pub(in crate::write_behind) fn has_retried(&self, retry_at: Instant) -> bool {
        !self.lanes.is_due(Lane::Retry, retry_at)
    }

    /// Takes what is due, together with the `requested` entries.
    pub(in crate::write_behind) fn take_due(
        &mut self,
        requested: Vec<EntryId>,
        now: Instant,
    ) -> Vec<Item> {
        let mut ids = requested;
        if let Some(until) = self.hurries_until {
            let lanes = [Lane::Transitions, Lane::Counts];
            let due = lanes.into_iter().flat_map(|lane| self.lanes.until(lane, until));
            ids.extend(due.take(BATCH_LIMIT));
            let is_due = lanes.into_iter().any(|lane| self.lanes.is_due(lane, until));
            self.hurries_until = self.hurries_until.filter(|_| is_due);
        }
        if self.paused_until.is_none_or(|until| until <= now) {
            if self.lanes.is_due(Lane::Transitions, now) {
                ids.extend(self.lanes.all(Lane::Transitions).take(BATCH_LIMIT));
            }
            if let Some((due, first)) = self.lanes.first(Lane::Counts)
                && due <= now
            {
                // Many breakers with the same interval make a few batches, not one each.
                let interval = self.slots.get(first).map(|slot| slot.settings.flush_interval);
                let soon = after(now, interval.unwrap_or_default() / 4);
                ids.extend(self.lanes.until(Lane::Counts, soon).take(BATCH_LIMIT));
            }
        }
        self.take(ids)
    }

    /// Takes the `requested` entries alone, from a store that is not expected to work.
    pub(in crate::write_behind) fn take_requested(&mut self, requested: Vec<EntryId>) -> Vec<Item> {
        self.take(requested)
    }

    /// Makes the items of these entries, each once, and of those that are departing.
    fn take(&mut self, mut ids: Vec<EntryId>) -> Vec<Item> {
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| self.slots.get(*id).is_some_and(|slot| slot.departure.is_none()));
        let departing: Vec<_> = self.departing.values().copied().collect();
        departing.into_iter().chain(ids).filter_map(|id| self.take_one(id)).collect()
    }

    fn take_one(&mut self, id: EntryId) -> Option<Item> {
        let lane = self.dequeue(id);
        let slot = self.slots.get_mut(id)?;
        slot.is_retried = lane == Some(Lane::Retry);
        let item = Item {
            entry: Arc::clone(&slot.entry),
            read: slot.read,
            is_departing: slot.departure.is_some(),
            is_discarded: slot.is_discarded(),
            is_retried: slot.is_retried,
            is_encoded: false,
            is_saved: false,
            has_failed: false,
        };
        if slot.save != SaveState::Clean {
            self.set_save(id, SaveState::Saving);
        }
        Some(item)
    }

    /// Takes in the result of an item. Returns the entry if the writer is done with it.
    pub(in crate::write_behind) fn conclude(
        &mut self,
        item: &Item,
        now: Instant,
    ) -> Option<Arc<Entry>> {
        let id = item.entry.id;
        // What was read may make the entry pending.
        let slot = self.change(id, |slot| {
            // An entry that has taken over a state meanwhile needs no snapshot.
            if slot.read != ReadState::Read {
                slot.read = item.read;
            }
            slot.is_retried = false;
        })?;
        let departure = slot.departure;
        if slot.is_discarded() {
            return self.conclude_discarded(item, now);
        }
        let is_newer = matches!(slot.read, ReadState::NewerVersion(_));
        let is_suspended = slot.entry.is_suspended();
        let is_over = if item.has_failed {
            // An attempt that began while the breaker lived says nothing about its last state.
            item.is_departing && departure.is_some_and(|departure| departure.is_over(now))
        } else {
            departure.is_some() && (is_newer || !item.entry.is_marked())
        };
        if is_over {
            return self.remove(id);
        }
        if is_suspended {
            // Nothing of it is saved, or tried again.
        } else if item.has_failed {
            self.conclude_failed(id, item.is_encoded, now);
        } else if is_newer || !item.entry.is_marked() {
            self.dequeue(id);
            self.set_save(id, SaveState::Clean);
        } else {
            self.conclude_changed(id, departure.is_some(), now);
        }
        None
    }

    /// An attempt that failed is repeated for as long as the store has other breakers.
    fn conclude_discarded(&mut self, item: &Item, now: Instant) -> Option<Arc<Entry>> {
        let id = item.entry.id;
        if item.is_discarded && (!item.has_failed || self.is_deserted()) {
            return self.remove(id);
        }
        self.set_save(id, SaveState::Clean);
        let lane = if item.has_failed { Lane::Retry } else { Lane::Discards };
        self.enqueue(id, (lane, now));
        None
    }

    fn conclude_failed(&mut self, id: EntryId, is_encoded: bool, now: Instant) {
        let Some(slot) = self.slots.get(id) else { return };
        let has_new_state = slot.queued.is_some_and(|(lane, _)| lane == Lane::Transitions);
        let goes_first = has_new_state && slot.read == ReadState::Failed;
        // A thread may have marked it that has not queued it yet.
        if is_encoded || slot.save != SaveState::Clean {
            // What the batch encoded is not saved.
            slot.entry.mark(Urgency::Counts);
            self.set_save(id, SaveState::Failed);
        }
        if goes_first {
            self.retry_first(id, now);
        } else {
            self.enqueue(id, (Lane::Retry, now));
        }
    }

    /// The entry has changed since it was encoded. If it is not queued yet, the thread that marked
    /// it is about to do that.
    fn conclude_changed(&mut self, id: EntryId, at_once: bool, now: Instant) {
        if at_once {
            self.enqueue(id, (Lane::Transitions, now));
        }
        let is_queued = self.slots.get(id).is_some_and(|slot| slot.queued.is_some());
        self.set_save(id, if is_queued { SaveState::Dirty } else { SaveState::Clean });
    }

    /// Ends a batch. Unless more is due already, what comes next may gather for a while.
    pub(in crate::write_behind) fn pause(&mut self, now: Instant) {
        self.paused_until = (!self.is_due(now)).then(|| now + BATCH_PAUSE);
    }

    /// Whether a dirty entry, or one to be discarded, is due.
    pub(in crate::write_behind) fn is_due(&self, now: Instant) -> bool {
        let lanes = [Lane::Transitions, Lane::Counts, Lane::Discards];
        lanes.into_iter().any(|lane| self.lanes.is_due(lane, now))
    }

    /// Whether anything waits for a retry.
    pub(in crate::write_behind) fn has_failed(&self) -> bool {
        self.lanes.first(Lane::Retry).is_some()
    }
}
