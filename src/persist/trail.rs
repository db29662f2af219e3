//! The transitions of one breaker that are not in its history yet.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::record;
use crate::{
    HistoryEntry,
    store::{HistoryRecord, StoreError},
};

/// Transitions that wait for the store, of one breaker. A store that is well takes them within milliseconds.
const MOST_WAITING: usize = 16;

/// Records that a history is cut down to.
pub(super) const KEPT: usize = 500;

/// Records that it may have beyond that before it is cut.
const SLACK: u32 = 50;

/// What is to be added to a breaker's history, and what is known of it. There is none before the breaker's
/// first transition.
pub(super) struct Trail {
    waiting: VecDeque<Waiting>,
    /// The id of the newest record; `None` before somebody looked.
    newest: Option<u64>,
    /// Records that were added since the history was cut. At first as if there were many: nobody knows.
    untrimmed: u32,
    /// Whether somebody is about to cut it.
    to_be_trimmed: bool,
}

/// A transition, and the id that it was given when it was first written. It keeps that, so that writing it
/// again makes no second one.
pub(super) struct Waiting {
    entry: HistoryEntry,
    id: Option<u64>,
}

impl Default for Trail {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), newest: None, untrimmed: SLACK, to_be_trimmed: false }
    }
}

impl Trail {
    /// Where there is no room, the oldest goes, and the next one says so.
    pub(super) fn push(&mut self, entry: HistoryEntry) {
        self.waiting.push_back(Waiting { entry, id: None });
        self.drop_surplus();
    }

    fn drop_surplus(&mut self) {
        while self.waiting.len() > MOST_WAITING {
            let gone = self.waiting.pop_front();
            if let (Some(gone), Some(next)) = (gone, self.waiting.front_mut()) {
                next.entry.missed += gone.entry.missed + 1;
            }
        }
    }

    /// What waits, to be written; the memory that it took goes with it.
    pub(super) fn take(&mut self) -> VecDeque<Waiting> {
        std::mem::take(&mut self.waiting)
    }

    /// What could not be written goes before what came meanwhile.
    pub(super) fn put_back(&mut self, mut taken: VecDeque<Waiting>) {
        taken.append(&mut self.waiting);
        self.waiting = taken;
        self.drop_surplus();
    }

    pub(super) const fn newest(&self) -> Option<u64> {
        self.newest
    }

    pub(super) fn set_newest(&mut self, id: u64) {
        self.newest = Some(id);
    }

    /// Says whether the history is to be cut.
    pub(super) fn written(&mut self, records: usize) -> bool {
        self.untrimmed = self.untrimmed.saturating_add(u32::try_from(records).unwrap_or(u32::MAX));
        let is_long = self.untrimmed > SLACK;
        !std::mem::replace(&mut self.to_be_trimmed, is_long) && is_long
    }

    pub(super) fn trimmed(&mut self) {
        self.untrimmed = 0;
        self.to_be_trimmed = false;
    }
}

/// Gives ids to those that have none, each larger than the one before and than `newest`, and writes them out.
pub(super) fn records(
    taken: &mut VecDeque<Waiting>,
    mut newest: u64,
    retention_days: u32,
) -> Result<Vec<HistoryRecord>, StoreError> {
    let mut records = Vec::with_capacity(taken.len());
    for waiting in taken {
        // The wall clock may have gone back since.
        let id = *waiting.id.get_or_insert_with(|| {
            nanos(waiting.entry.transition.at).max(newest.saturating_add(1))
        });
        newest = newest.max(id);
        records.push(record::write(id, &waiting.entry, retention_days)?);
    }
    Ok(records)
}

/// Nanoseconds since 1970: until the year 2554.
pub(super) fn nanos(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The id below which records are too old at `now`, itself an id.
pub(super) fn too_old(now: u64, retention_days: u32) -> u64 {
    let kept = Duration::from_secs(u64::from(retention_days) * 24 * 3600);
    now.saturating_sub(u64::try_from(kept.as_nanos()).unwrap_or(u64::MAX))
}
