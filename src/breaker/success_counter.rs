//! Successes of a breaker with time windows, counted without the lock.
//!
//! A time window has to know the number of calls, so a success is a write. Threads spread these
//! writes over a few counters, each on a cache line of its own, and the next holder of the lock
//! drains them. While a window holds no failure, no rule can trip on a success, so nothing depends
//! on the exact number. After the first failure, each success may complete the number of calls
//! that a rule waits for: from then on the counters are disabled, and successes take the lock.

use std::sync::OnceLock;

use crate::sync::{AtomicU64, Ordering};

/// Not allocated until a breaker of the cell first has a time window.
#[derive(Default)]
pub(super) struct SuccessCounter(OnceLock<Box<[Counter]>>);

/// A count in the low 40 bits, and in the high 24 bits a tag: the low bits of the generation that
/// the count belongs to. A success of an earlier generation finds another tag and is not counted.
/// (A tag recurs after 16 million transitions; for an error, all of them would have to happen
/// between a thread's load and its compare-and-swap.)
#[repr(align(64))]
struct Counter(AtomicU64);

const COUNT_BITS: u32 = 40;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

/// The value of a counter that takes no counts: one that is full.
const DISABLED: u64 = COUNT;

const fn tag(generation: u64) -> u64 {
    generation << COUNT_BITS
}

impl SuccessCounter {
    /// Allocates the counters, disabled, unless they exist.
    pub(super) fn allocate(&self) {
        self.0.get_or_init(|| (0..width()).map(|_| Counter(AtomicU64::new(DISABLED))).collect());
    }

    pub(super) fn is_allocated(&self) -> bool {
        self.0.get().is_some()
    }

    /// Counts a success of this generation. `false` if the counters belong to another one or are
    /// disabled, or another thread interfered: then the caller takes the lock.
    #[inline]
    pub(super) fn count(&self, generation: u64) -> bool {
        let Some(counters) = self.0.get() else {
            return false;
        };
        let counter = &counters[thread_index() & (counters.len() - 1)].0;
        let seen = counter.load(Ordering::Relaxed);
        // The count never gets near its limit: it is drained whenever a bucket ends.
        seen & !COUNT == tag(generation)
            && seen & COUNT != COUNT
            && counter.compare_exchange(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Starts to count for this generation, unless it does already. Counts of an earlier
    /// generation that were not drained are discarded: they came after its end.
    ///
    /// This and the methods below are for the holder of the lock.
    pub(super) fn enable(&self, generation: u64) {
        for counter in self.counters() {
            let seen = counter.load(Ordering::Relaxed);
            if seen == DISABLED || seen & !COUNT != tag(generation) {
                counter.store(tag(generation), Ordering::Release);
            }
        }
    }

    /// Takes the count of this generation.
    pub(super) fn drain(&self, generation: u64) -> u64 {
        self.replace(generation, tag(generation))
    }

    /// Takes the count of this generation, and stops counting.
    pub(super) fn drain_and_disable(&self, generation: u64) -> u64 {
        self.replace(generation, DISABLED)
    }

    fn replace(&self, generation: u64, value: u64) -> u64 {
        let counts = self.counters().map(|counter| {
            // There is seldom anything to take, and a load leaves the line with its owner.
            let seen = counter.load(Ordering::Acquire);
            if seen == value || seen == DISABLED || seen & !COUNT != tag(generation) {
                return 0;
            }
            // Only the holder of the lock changes the tag, so it is still the same.
            counter.swap(value, Ordering::AcqRel) & COUNT
        });
        counts.sum()
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

/// A number of the current thread's own. Threads share the counters evenly by it.
#[cfg(not(tower_breaker_loom))]
#[inline]
fn thread_index() -> usize {
    use std::{cell::Cell, sync::atomic::AtomicUsize};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static INDEX: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    INDEX.with(|index| {
        if index.get() == usize::MAX {
            index.set(NEXT.fetch_add(1, Ordering::Relaxed) & (usize::MAX >> 1));
        }
        index.get()
    })
}

// One counter for all threads is the hardest case, and the one with the fewest interleavings.
#[cfg(tower_breaker_loom)]
fn width() -> usize {
    1
}

#[cfg(tower_breaker_loom)]
fn thread_index() -> usize {
    0
}
