//! What the schedule knows of one entry.

use std::{sync::Arc, time::Instant};

use super::super::{
    entry::{Entry, Urgency},
    lanes::{Lane, Queued, after},
    source::SaveSettings,
    states::{ReadState, SaveState},
};

pub(super) struct ScheduledEntry {
    pub(super) entry: Arc<Entry>,
    pub(super) settings: SaveSettings,
    pub(super) read: ReadState,
    pub(super) save: SaveState,
    /// Where it waits.
    pub(super) queued: Option<Queued>,
    /// Whether the batch under way retries it.
    pub(super) is_retried: bool,
    /// Set once the breaker is gone.
    pub(super) departure: Option<Departure>,
}

#[derive(Clone, Copy)]
pub(super) struct Departure {
    /// Its place among those that are gone.
    pub(super) number: u64,
    pub(super) purpose: Purpose,
}

/// Why the entry of a breaker that is gone is still there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Its last state is to be saved. Attempts end then, after at least one.
    Save { try_until: Instant },
    /// What the store holds of it is to be deleted.
    Discard,
}

impl Departure {
    /// Whether an attempt that failed at this time was the last.
    pub(super) fn is_over(self, now: Instant) -> bool {
        matches!(self.purpose, Purpose::Save { try_until } if now >= try_until)
    }
}

impl ScheduledEntry {
    pub(super) fn is_discarded(&self) -> bool {
        self.departure.is_some_and(|departure| departure.purpose == Purpose::Discard)
    }

    pub(super) fn is_pending(&self) -> bool {
        let is_unsavable =
            matches!(self.read, ReadState::NewerVersion(_)) && !self.entry.is_suspended();
        self.save != SaveState::Clean || is_unsavable
    }

    /// Whether nothing but a [mark](Entry::mark) is missing for the entry to be saved.
    pub(super) fn can_be_saved_again(&self) -> bool {
        self.read == ReadState::Read
            && matches!(self.save, SaveState::Clean | SaveState::Dirty)
            && !self.entry.is_suspended()
            && !self.is_discarded()
    }

    pub(super) fn due(&self, urgency: Urgency, now: Instant) -> Queued {
        let SaveSettings { flush_interval, transition_flush_interval, .. } = self.settings;
        match urgency {
            Urgency::Counts => (Lane::Counts, after(now, flush_interval)),
            // The counts that a transition changes are due, too.
            Urgency::Transition => {
                (Lane::Transitions, after(now, transition_flush_interval.min(flush_interval)))
            }
        }
    }
}
