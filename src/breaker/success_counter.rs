//! Successes of a breaker with time windows, counted without its lock.
//!
//! A time window has to know how many calls there were, so a success is a write. The writes go
//! to one of a few counters, by thread, each on a cache line of its own; whoever holds the lock
//! next collects them. As long as a window holds no failure, no rule can trip on a success, so
//! nobody misses them before. From the first failure on each success may make up the number of
//! calls that a rule waits for, so from there on the tally is closed, and successes take the lock.

use std::sync::OnceLock;

use crate::sync::{AtomicU64, Ordering};

/// Absent until a breaker of the cell first has a time window.
#[derive(Default)]
pub(crate) struct SuccessCounter(OnceLock<Box<[Counter]>>);

/// A count in the low 40 bits, and in the high 24 those of the generation it belongs to: a
/// success of an earlier generation finds another tag and is not counted. (A tag comes round
/// after 16 million transitions, during which the thread would have to stand between a load and
/// the compare-and-swap that follows it.)
#[repr(align(64))]
struct Counter(AtomicU64);

const COUNT_BITS: u32 = 40;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

/// What a counter holds that counts nobody's: a count that is full.
const DISABLED: u64 = COUNT;

const fn tag(generation: u64) -> u64 {
    generation << COUNT_BITS
}

impl SuccessCounter {
    /// Makes room for the counts of breakers with time windows. It is closed.
    pub(crate) fn allocate(&self) {
        self.0.get_or_init(|| (0..width()).map(|_| Counter(AtomicU64::new(DISABLED))).collect());
    }

    pub(crate) fn is_allocated(&self) -> bool {
        self.0.get().is_some()
    }

    /// Counts a success of this generation. `false` where it belongs to another, or another
    /// thread was quicker: then the lock has the answer.
    #[inline]
    pub(crate) fn count(&self, generation: u64) -> bool {
        let Some(counters) = self.0.get() else {
            return false;
        };
        let counter = &counters[place() & (counters.len() - 1)].0;
        let seen = counter.load(Ordering::Relaxed);
        // The count never gets near its limit: whoever rolls the bucket collects it.
        seen & !COUNT == tag(generation)
            && seen & COUNT != COUNT
            && counter.compare_exchange(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// From now on counts in this generation, and goes on where it does already. What others
    /// counted and nobody collected is late: the transition came first. For the holder of the
    /// lock, as all that follows.
    pub(crate) fn enable(&self, generation: u64) {
        for counter in self.counters() {
            let seen = counter.load(Ordering::Relaxed);
            if seen == DISABLED || seen & !COUNT != tag(generation) {
                counter.store(tag(generation), Ordering::Release);
            }
        }
    }

    /// Takes what was counted in this generation.
    pub(crate) fn drain(&self, generation: u64) -> u64 {
        self.take(generation, tag(generation))
    }

    /// Takes what was counted in this generation, and counts no more.
    pub(crate) fn drain_and_disable(&self, generation: u64) -> u64 {
        self.take(generation, DISABLED)
    }

    fn take(&self, generation: u64, rest: u64) -> u64 {
        let taken = self.counters().map(|counter| {
            // Most of the time there is nothing to take: a load leaves the line with its owner.
            let seen = counter.load(Ordering::Acquire);
            if seen == rest || seen == DISABLED || seen & !COUNT != tag(generation) {
                return 0;
            }
            // Nobody else changes what is before the count.
            counter.swap(rest, Ordering::AcqRel) & COUNT
        });
        taken.sum()
    }

    fn counters(&self) -> impl Iterator<Item = &AtomicU64> {
        self.0.get().into_iter().flatten().map(|counter| &counter.0)
    }
}

#[cfg(not(tower_breaker_loom))]
fn width() -> usize {
    let threads = std::thread::available_parallelism().map_or(4, std::num::NonZero::get);
    threads.next_power_of_two().min(16)
}

/// Threads take the counters in turn.
#[cfg(not(tower_breaker_loom))]
#[inline]
fn place() -> usize {
    use std::{cell::Cell, sync::atomic::AtomicUsize};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    PLACE.with(|place| {
        if place.get() == usize::MAX {
            place.set(NEXT.fetch_add(1, Ordering::Relaxed) & (usize::MAX >> 1));
        }
        place.get()
    })
}

// One counter for all threads is the hardest case, and the one with the fewest interleavings.
#[cfg(tower_breaker_loom)]
fn width() -> usize {
    1
}

#[cfg(tower_breaker_loom)]
fn place() -> usize {
    0
}
