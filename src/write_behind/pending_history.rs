//! The transitions of one breaker that are not in its history yet.

use std::collections::VecDeque;

use super::record;
use crate::{
    history::HistoryEntry,
    store::{HistoryRecord, StoreError},
};

/// The most transitions that wait for the store. A store that works takes them in milliseconds.
const MAX_PENDING: usize = 16;

/// The number of records that a history is trimmed to.
pub(super) const HISTORY_LIMIT: usize = 500;

/// The number of records that it may have beyond that before it is trimmed.
const TRIM_SLACK: u32 = 50;

/// The transitions that wait to be appended to a breaker's history, and what is known about that
/// history. A breaker has none of this before its first transition.
pub(super) struct PendingHistory {
    pending: VecDeque<PendingTransition>,
    /// The id of the newest record; `None` until it is read from the store.
    newest: Option<u64>,
    /// The number of records appended since the last trim. It begins as if a trim were needed: the
    /// length of the stored history is unknown.
    untrimmed: u32,
    /// Whether a trim is already queued.
    trim_queued: bool,
}

/// A transition, and its id once it has been written for the first time. The id never changes, so
/// that writing the transition again cannot add a second record.
pub(super) struct PendingTransition {
    entry: HistoryEntry,
    id: Option<u64>,
}

impl Default for PendingHistory {
    fn default() -> Self {
        let pending = VecDeque::new();
        Self { pending, newest: None, untrimmed: TRIM_SLACK, trim_queued: false }
    }
}

impl PendingHistory {
    /// Adds a transition. If there is no room, the oldest is dropped and counted in
    /// [`HistoryEntry::missed`] of the next.
    pub(super) fn push(&mut self, entry: HistoryEntry) {
        if self.pending.is_empty() {
            // Seldom more than one: of a start with many open circuits, each has one.
            self.pending.reserve_exact(1);
        }
        self.pending.push_back(PendingTransition { entry, id: None });
        self.drop_surplus();
    }

    fn drop_surplus(&mut self) {
        while self.pending.len() > MAX_PENDING {
            let dropped = self.pending.pop_front();
            if let (Some(dropped), Some(next)) = (dropped, self.pending.front_mut()) {
                next.entry.missed += dropped.entry.missed + 1;
            }
        }
    }

    /// Whether no transition waits. So it is while they are being written.
    pub(super) fn is_written(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes the transitions out to be written, and frees their memory.
    pub(super) fn take(&mut self) -> VecDeque<PendingTransition> {
        std::mem::take(&mut self.pending)
    }

    /// Puts back transitions that could not be written, before those that came meanwhile.
    pub(super) fn put_back(&mut self, mut taken: VecDeque<PendingTransition>) {
        taken.append(&mut self.pending);
        self.pending = taken;
        self.drop_surplus();
    }

    pub(super) const fn newest(&self) -> Option<u64> {
        self.newest
    }

    pub(super) fn set_newest(&mut self, id: u64) {
        self.newest = Some(id);
    }

    /// Counts appended records. Returns `true` if the history has to be trimmed, once until
    /// [`trimmed`](Self::trimmed).
    pub(super) fn appended(&mut self, records: usize) -> bool {
        self.untrimmed = self.untrimmed.saturating_add(u32::try_from(records).unwrap_or(u32::MAX));
        let is_long = self.untrimmed > TRIM_SLACK;
        !std::mem::replace(&mut self.trim_queued, is_long) && is_long
    }

    pub(super) fn trimmed(&mut self) {
        self.untrimmed = 0;
        self.trim_queued = false;
    }
}

/// Encodes transitions. Those without an id get one, larger than every id before it and than
/// `newest`.
pub(super) fn to_records(
    transitions: &mut VecDeque<PendingTransition>,
    mut newest: u64,
    retention_days: u32,
) -> Result<Vec<HistoryRecord>, StoreError> {
    let mut records = Vec::with_capacity(transitions.len());
    for PendingTransition { entry, id } in transitions {
        // The wall clock may have gone back since the newest record.
        let next = newest.saturating_add(1);
        let id = *id.get_or_insert_with(|| record::id_at(entry.transition.at).max(next));
        newest = newest.max(id);
        records.push(record::encode(id, entry, retention_days)?);
    }
    Ok(records)
}
