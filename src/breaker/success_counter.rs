//! Calls of a breaker that are counted without its lock.
//!
//! Between two failures all successes are alike, so their order says nothing. They are
//! [counted](super::counter), and the next holder of the lock [drains](Successes::drain) them: it
//! records them in every window before it does its own work. The result is one that the same calls
//! could have had one after the other, as long as no success that is counted here could have
//! tripped a rule. The machine says whether that is so ([`OnSuccess`]), and the counter is enabled
//! only while it does.
//!
//! A counter is full after as many successes as the largest count window holds, or half as many
//! after a failure through which it has counted on. Then a success takes the lock: once every
//! window is full of successes, those that follow change nothing. However large a window is, a
//! drain is short: all counters of a cell together hold at most
//! [`MOST_PENDING`](counter::MOST_PENDING) successes.
//!
//! # One counter, or several
//!
//! One counter serves until two threads meet on it. From then on there are several, each on a cache
//! line of its own, and a thread keeps to one of them: as many as the thread that allocates them
//! may use processors. A thread that is pinned may use one. So threads that go on meeting double
//! the number, up to 16. The counters before stay disabled from then on.
//!
//! # Failures
//!
//! Where threads have met, a failure that cannot open the circuit is noted in a
//! [log](super::failure_log), with the successes before it.
//!
//! # What moves between processors
//!
//! A cache line that another processor has written takes some 25 to 150 ns to arrive. Where *n*
//! threads count, a failure that is noted moves the line of the log and *n* - 1 counters, each of
//! which its thread has to get back. A failure that is recorded under the lock also moves those of
//! the lock and the machine, of its rules, and of their windows: eight or more.

use super::{
    counter::{self, Counted, DISABLED, enabled, has_room},
    spread_counters::SpreadCounters,
};
use crate::sync::{AtomicU64, Ordering};

/// How a success that is not slow is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnSuccess {
    /// Not at all: it changes nothing.
    Skip,
    /// It may be counted now and recorded later: no rule can trip on it, nor on any number of
    /// successes in a row, before a bucket of a time window ends.
    Defer,
    /// With the lock.
    Record,
}

/// The counters of a cell: the one in its own memory, and those for several threads.
#[derive(Clone, Copy)]
pub(super) struct Successes<'a> {
    pub(super) shared: &'a AtomicU64,
    pub(super) spread: &'a SpreadCounters,
}

impl Successes<'_> {
    /// Counts a success of this epoch.
    #[inline]
    pub(super) fn count(self, epoch: u64, is_spread: bool) -> Counted {
        if is_spread { self.count_spread(epoch) } else { counter::count(self.shared, epoch) }
    }

    #[inline(never)]
    fn count_spread(self, epoch: u64) -> Counted {
        // It is published only once there are some.
        self.spread.get().map_or(Counted::No, |counters| counters.count(epoch))
    }

    /// Notes a failure of this epoch, if threads have met and it needs no lock.
    pub(super) fn note_failure(self, epoch: u64) -> bool {
        self.spread.get().is_some_and(|counters| {
            counters.failures.note(epoch, |limit| counters.drain(epoch, limit))
        })
    }

    // The methods below are for the holder of the lock.

    pub(super) fn is_spread(self) -> bool {
        self.spread.get().is_some()
    }

    /// Allocates counters, disabled, so that threads do not meet again, unless another thread that
    /// met there has done so. The present ones must be disabled.
    pub(super) fn allocate(self, met: u8) {
        self.spread.allocate(met);
    }

    /// Whether successes of this epoch can be counted now.
    pub(super) fn is_enabled(self, epoch: u64) -> bool {
        let is_enabled = |counter: &AtomicU64| has_room(counter.load(Ordering::Relaxed), epoch);
        match self.spread.get() {
            None => is_enabled(self.shared),
            Some(counters) => counters.iter().any(is_enabled),
        }
    }

    /// Enables the counters that are disabled or of an earlier epoch: they count successes of this
    /// one, at most `limit` before one takes the lock.
    ///
    /// Those that are enabled already keep their count. They may be full by now, because other
    /// threads count on after a [drain](Self::drain).
    pub(super) fn enable(self, epoch: u64, limit: u64) {
        match self.spread.get() {
            None => counter::enable(self.shared, epoch, limit),
            Some(counters) => {
                let limit = counters.limit(limit);
                counters.iter().for_each(|counter| counter::enable(counter, epoch, limit));
            }
        }
    }

    /// Lets failures of this epoch be noted, if threads have met; no more than this many, where
    /// none can be noted now.
    pub(super) fn enable_failures(self, epoch: u64, limit: u64, allowance: u32) {
        if let Some(counters) = self.spread.get() {
            counters.failures.enable(epoch, counters.limit(limit), allowance);
        }
    }

    /// Takes the failures that were noted: calls `record` with the successes before each of them,
    /// if there is any. From now on, none is noted.
    pub(super) fn drain_and_disable_failures(self, epoch: u64, record: impl FnOnce(&[u32])) {
        if let Some(counters) = self.spread.get() {
            counters.failures.drain_and_disable(epoch, record);
        }
    }

    /// Takes the count, and goes on counting where the counters were enabled.
    pub(super) fn drain(self, epoch: u64, limit: u64) -> u64 {
        match self.spread.get() {
            None => counter::take(self.shared, epoch, limit, enabled(epoch, limit)),
            // With several counters, the single one stays disabled.
            Some(counters) => counters.drain(epoch, counters.limit(limit)),
        }
    }

    /// Takes the count, and stops counting.
    pub(super) fn drain_and_disable(self, epoch: u64, limit: u64) -> u64 {
        match self.spread.get() {
            None => counter::take(self.shared, epoch, limit, DISABLED),
            Some(counters) => counters.drain_and_disable(epoch, counters.limit(limit)),
        }
    }
}

#[cfg(all(test, not(tower_breaker_loom)))]
mod tests {
    use super::{super::counter::MOST_PENDING, *};

    /// Other threads may fill the counters between a drain and the publication after it.
    #[test]
    fn counters_that_are_full_keep_their_count_when_they_are_enabled_again() {
        const EPOCH: u64 = 3;
        const LIMIT: u64 = 2;
        let (shared, spread) = (AtomicU64::new(DISABLED), SpreadCounters::default());
        let successes = Successes { shared: &shared, spread: &spread };
        successes.enable(EPOCH, LIMIT);
        for expected in [Counted::Yes, Counted::Yes, Counted::No] {
            assert_eq!(successes.count(EPOCH, false), expected);
        }
        successes.enable(EPOCH, LIMIT);
        assert_eq!(successes.drain(EPOCH, LIMIT), LIMIT);
        assert_eq!(successes.count(EPOCH, false), Counted::Yes, "it is enabled again");
        assert_eq!(successes.drain_and_disable(EPOCH, LIMIT), 1);
        assert_eq!(successes.count(EPOCH, false), Counted::No, "it is disabled");
    }

    /// What the next holder of the lock has to record does not grow with the window.
    #[test]
    fn the_counters_of_all_threads_hold_a_bounded_number_of_successes() {
        const EPOCH: u64 = 3;
        for limit in [10, 100, 1_000_000_u64] {
            let (shared, spread) = (AtomicU64::new(DISABLED), SpreadCounters::default());
            let successes = Successes { shared: &shared, spread: &spread };
            for met in [1, 2, 4, 8] {
                spread.allocate(met);
                successes.enable(EPOCH, limit);
                let counters = spread.get().unwrap();
                let number = counters.iter().count() as u64;
                for counter in counters.iter() {
                    while counter::count(counter, EPOCH) == Counted::Yes {}
                }
                let each = limit.min(u64::from(MOST_PENDING) / number);
                assert_eq!(successes.drain(EPOCH, limit), number * each, "{number} counters");
                assert_eq!(successes.drain_and_disable(EPOCH, limit), 0);
            }
        }
    }
}
