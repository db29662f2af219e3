//! The metrics of breakers: counters of calls, and what else happens to a breaker.

mod breaker_meter;
mod durations;
mod lines;
mod meter;
mod numbers;
mod publish;
mod series;

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

#[cfg(feature = "keyed")]
pub(crate) use self::meter::Labels;
pub use self::numbers::{
    BreakerMetrics, CallCounts, PreventedCounts, ProbeCounts, TransitionCount,
};
pub(crate) use self::publish::{CountedBreaker, begin_all, is_read};
pub(super) use self::series::describe;
pub(crate) use self::{
    breaker_meter::BreakerMeter,
    meter::{Counted, StatsSource},
};
use crate::outcome::CallEnd;

/// A slot with this bit is that of a meter that measures durations. No thread has a line of its own
/// for such a number, so what the other calls do takes no work for it.
const MEASURES: u32 = 1 << 30;

/// Where the calls of a breaker are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MeterSlot(u32);

impl MeterSlot {
    pub(crate) const OFF: Self = Self(lines::NO_SLOT);

    /// The breaker counts, but has had no call yet.
    pub(crate) const WAITING: Self = Self(lines::NO_SLOT - 1);

    fn new(slot: u32, measures: bool) -> Self {
        Self(if measures { slot | MEASURES } else { slot })
    }
}

/// A cell's link to where its breaker's calls are counted. It changes only with the cell's breaker.
pub(crate) struct CellMeter {
    slot: AtomicU32,
    /// The low bits of the epoch in which the breaker began.
    since: AtomicU32,
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits")]
impl CellMeter {
    pub(crate) const fn off() -> Self {
        Self { slot: AtomicU32::new(lines::NO_SLOT), since: AtomicU32::new(0) }
    }

    /// Counts for another breaker.
    pub(crate) fn start(&self, slot: MeterSlot, epoch: u64) {
        self.since.store(epoch as u32, Relaxed);
        self.slot.store(slot.0, Relaxed);
    }

    pub(crate) fn stop(&self) {
        self.slot.store(lines::NO_SLOT, Relaxed);
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.slot.load(Relaxed) != lines::NO_SLOT
    }

    /// Whether calls are counted, and this epoch is one of the breaker's.
    #[inline]
    pub(crate) fn is_on_since(&self, epoch: u64) -> bool {
        let passed = (epoch as u32).wrapping_sub(self.since.load(Relaxed));
        passed < 1 << 31 && self.is_on()
    }

    /// Whether nothing has been counted yet.
    #[inline]
    pub(crate) fn waits(&self) -> bool {
        self.slot.load(Relaxed) == MeterSlot::WAITING.0
    }

    /// Ends the waiting.
    pub(crate) fn assign(&self, slot: MeterSlot) {
        self.slot.store(slot.0, Relaxed);
    }

    /// Counts if the thread has a line of its own for this breaker.
    #[inline]
    pub(crate) fn count_on_own_line(&self, end: CallEnd) -> bool {
        lines::count_on_own(self.slot.load(Relaxed), end)
    }

    pub(crate) fn count(&self, end: CallEnd, elapsed: impl FnOnce() -> Option<Duration>) {
        let slot = self.slot.load(Relaxed);
        if slot >= MeterSlot::WAITING.0 {
            return;
        }
        // Calls that are counted on a line of the thread's own do not come here, and could not
        // ensure that the counts are published.
        lines::count(slot & !MEASURES, end, publish::ensure_thread);
        if slot & MEASURES != 0
            && let Some(elapsed) = elapsed()
        {
            durations::record(slot & !MEASURES, end, elapsed);
        }
    }
}
