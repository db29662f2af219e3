//! Entries that wait, by what they wait for, each lane ordered by time.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::entries::EntryId;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// Entries whose state changed, by the time at which they are due.
    Transitions,
    /// Entries whose counts changed, by the time at which they are due.
    Counts,
    /// Entries that could not be read or saved, by the time at which that failed.
    Retry,
    /// Entries of breakers that are gone and whose snapshots are to be deleted, by the time at
    /// which that is due.
    Discards,
}

/// Where an entry waits.
pub(super) type Queued = (Lane, Instant);

#[derive(Default)]
pub(super) struct Lanes([BTreeSet<(Instant, EntryId)>; 4]);

impl Lanes {
    /// Returns whether the entry is the first in its lane now.
    pub(super) fn insert(&mut self, id: EntryId, (lane, at): Queued) -> bool {
        let entries = &mut self.0[lane as usize];
        entries.insert((at, id));
        entries.first() == Some(&(at, id))
    }

    pub(super) fn remove(&mut self, id: EntryId, (lane, at): Queued) {
        self.0[lane as usize].remove(&(at, id));
    }

    /// The time of the first entry in a lane, and the entry.
    pub(super) fn first(&self, lane: Lane) -> Option<(Instant, EntryId)> {
        self.0[lane as usize].first().copied()
    }

    /// Whether the first entry in a lane is due.
    pub(super) fn is_due(&self, lane: Lane, now: Instant) -> bool {
        self.first(lane).is_some_and(|(at, _)| at <= now)
    }

    /// The entries in a lane, from the first on.
    pub(super) fn all(&self, lane: Lane) -> impl Iterator<Item = EntryId> {
        self.0[lane as usize].iter().map(|(_, id)| *id)
    }

    /// The entries in a lane up to and including this time.
    pub(super) fn until(&self, lane: Lane, time: Instant) -> impl Iterator<Item = EntryId> {
        self.0[lane as usize].iter().take_while(move |(at, _)| *at <= time).map(|(_, id)| *id)
    }
}

/// The moment after `wait`, or a distant one if the clock does not reach that far.
pub(super) fn after(now: Instant, wait: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    now.checked_add(wait).unwrap_or(now + YEAR)
}
