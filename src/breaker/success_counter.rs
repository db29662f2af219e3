//! Successes of a breaker, counted without the lock.
//!
//! Between two failures all successes are alike, so their order says nothing. They are counted
//! here, and the next holder of the lock [drains](Successes::drain) them: it records them in every
//! window before it does its own work. The result is one that the same calls could have had one
//! after the other, as long as no success that is counted here could have tripped a rule. The
//! machine says whether that is so ([`OnSuccess`]), and the
//! counter is open only while it does.
//!
//! # A counter's value
//!
//! | bits | what they hold |
//! |---|---|
//! | 24, high | the tag: the low bits of the [epoch](super::packed_state) whose successes it counts |
//! | 9 | zero |
//! | 1 | whether it is closed |
//! | 30, low | the count, from a base up to all ones, which is full |
//!
//! Counting is a compare-and-swap from a value that was seen open and with the epoch's tag, so a
//! thread that was held up in between does not reach the next epoch. (A tag recurs after 16 million
//! epochs; for an error, all of them would have to pass within those two instructions.)
//!
//! The base is such that the counter is full after as many successes as the largest count window
//! holds. Then a success takes the lock: every window is full of successes, and those that follow
//! change nothing.
//!
//! # One counter, or several
//!
//! One counter serves until two threads meet on it. From then on there are several, each on a cache
//! line of its own, and a thread keeps to one of them: as many as the thread that allocates them
//! may use processors. A thread that is pinned may use one. So threads that go on meeting double
//! the number, up to [`MOST_COUNTERS`]. The counters before stay closed from then on.

use once_cell::race::OnceBox;

use crate::sync::{AtomicU64, Ordering};

/// The counters of a cell in which two threads have met, once allocated. They stay with the cell.
/// A single pointer, because every cell pays for this field, and few need it.
#[derive(Default)]
pub(super) struct SpreadCounters(OnceBox<Counters>);

/// Read at each success that is counted here, so no other data shares the cache line.
#[repr(align(64))]
struct Counters {
    /// A power of two of them.
    counters: Box<[Counter]>,
    /// Those that are used instead of these, once threads have met here again.
    more: OnceBox<Counters>,
}

/// Processors fetch cache lines in pairs.
#[repr(align(128))]
struct Counter(AtomicU64);

const MOST_COUNTERS: usize = 16;

impl SpreadCounters {
    /// The counters in use.
    #[inline]
    fn get(&self) -> Option<&Counters> {
        let mut counters = self.0.get()?;
        while let Some(more) = counters.more.get() {
            counters = more;
        }
        Some(counters)
    }

    /// Those that count when no thread has the lock.
    fn iter(&self) -> impl Iterator<Item = &AtomicU64> {
        let counters = self.get().map_or(&[][..], |last| &last.counters);
        counters.iter().map(|counter| &counter.0)
    }

    /// Adds counters to use instead of the present ones, unless there are as many as there may be.
    fn add(&self) {
        match self.get() {
            None => {
                self.0.get_or_init(|| Counters::closed(width()));
            }
            Some(Counters { counters, more }) if counters.len() < MOST_COUNTERS => {
                more.get_or_init(|| Counters::closed(2 * counters.len()));
            }
            Some(_) => {}
        }
    }
}

impl Counters {
    fn closed(number: usize) -> Box<Self> {
        let counters = (0..number).map(|_| Counter(AtomicU64::new(CLOSED))).collect();
        Box::new(Self { counters, more: OnceBox::new() })
    }

    /// The counter of the current thread.
    #[inline]
    fn own(&self) -> &AtomicU64 {
        &self.counters[thread_index() & (self.counters.len() - 1)].0
    }
}

const TAG_SHIFT: u32 = 40;
/// Fits into an immediate operand, with room for the largest count window.
const CLOSED: u64 = 1 << 30;
const FULL: u64 = CLOSED - 1;

/// More successes than a counter can hold before the next one takes the lock.
#[cfg(all(test, tower_breaker_loom))]
pub(super) const UNLIMITED: u64 = FULL;

const fn tag(epoch: u64) -> u64 {
    epoch << TAG_SHIFT
}

/// A counter that counts nothing.
pub(super) const fn closed() -> u64 {
    CLOSED
}

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

/// What became of a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    Yes,
    /// The counter is closed, full, or of another epoch.
    No,
    /// Another thread changed the counter at the same time.
    Contended,
}

/// The counters of a cell: the one in its own memory, and those for several threads.
#[derive(Clone, Copy)]
pub(super) struct Successes<'a> {
    pub(super) shared: &'a AtomicU64,
    pub(super) spread: &'a SpreadCounters,
}

impl<'a> Successes<'a> {
    /// Counts a success of this epoch.
    #[inline]
    pub(super) fn count(self, epoch: u64, is_spread: bool) -> Counted {
        if is_spread { self.count_spread(epoch) } else { count(self.shared, epoch) }
    }

    /// The same where threads have met before: a thread that meets another one tries again.
    #[inline(never)]
    fn count_spread(self, epoch: u64) -> Counted {
        let Some(counters) = self.spread.get() else { return Counted::No };
        let counter = counters.own();
        for _ in 0..ATTEMPTS {
            match count(counter, epoch) {
                Counted::Contended => {}
                other => return other,
            }
        }
        // The caller takes the lock.
        if counters.counters.len() < MOST_COUNTERS { Counted::Contended } else { Counted::No }
    }

    // The methods below are for the holder of the lock.

    pub(super) fn is_spread(self) -> bool {
        self.spread.0.get().is_some()
    }

    /// Adds counters, closed, so that threads do not meet again. The present ones must be closed.
    pub(super) fn spread(self) {
        self.spread.add();
    }

    /// Whether successes of this epoch can be counted now.
    pub(super) fn is_open(self, epoch: u64) -> bool {
        let is_open = |counter: &AtomicU64| counter.load(Ordering::Relaxed) ^ tag(epoch) < FULL;
        if self.is_spread() { self.spread.iter().any(is_open) } else { is_open(self.shared) }
    }

    /// Opens the counters that are closed or of an earlier epoch: they count successes of this
    /// one, at most `limit` before one takes the lock.
    ///
    /// Those that are open already keep their count. They may be full by now, because other threads
    /// count on after a [drain](Self::drain).
    pub(super) fn open(self, epoch: u64, limit: u64) {
        for counter in self.counters() {
            if counter.load(Ordering::Relaxed) ^ tag(epoch) > FULL {
                counter.store(opened(epoch, limit), Ordering::Release);
            }
        }
    }

    /// Takes the count, and goes on counting where the counters were open.
    pub(super) fn drain(self, epoch: u64, limit: u64) -> u64 {
        self.take(epoch, limit, opened(epoch, limit))
    }

    /// Takes the count, and stops counting.
    pub(super) fn drain_and_close(self, epoch: u64, limit: u64) -> u64 {
        self.take(epoch, limit, CLOSED)
    }

    fn take(self, epoch: u64, limit: u64, next: u64) -> u64 {
        let take = |counter| take(counter, epoch, limit, next);
        // With several counters, the single one stays closed.
        if self.is_spread() { self.spread.iter().map(take).sum() } else { take(self.shared) }
    }

    fn counters(self) -> impl Iterator<Item = &'a AtomicU64> {
        // With several counters, the single one stays closed.
        let shared = (!self.is_spread()).then_some(self.shared);
        shared.into_iter().chain(self.spread.iter())
    }
}

fn take(counter: &AtomicU64, epoch: u64, limit: u64, next: u64) -> u64 {
    // There is seldom anything to take, and a load leaves the line with its owner.
    let seen = counter.load(Ordering::Acquire);
    // Only the holder of the lock changes the tag, and closes or opens a counter.
    if seen == next || seen ^ tag(epoch) > FULL {
        return 0;
    }
    let last = counter.swap(next, Ordering::AcqRel) ^ tag(epoch);
    last.saturating_sub(FULL - limit)
}

const fn opened(epoch: u64, limit: u64) -> u64 {
    tag(epoch) | (FULL - limit)
}

#[inline]
fn count(counter: &AtomicU64, epoch: u64) -> Counted {
    let seen = counter.load(Ordering::Relaxed);
    // One comparison for the tag, the closed bit and the room.
    if seen ^ tag(epoch) >= FULL {
        return Counted::No;
    }
    match counter.compare_exchange(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed) {
        Ok(_) => Counted::Yes,
        Err(_) => Counted::Contended,
    }
}

/// How often a thread tries to count on a counter of its own. Others change it too, but seldom: a
/// holder of the lock, and threads with which it shares the counter.
const ATTEMPTS: u32 = 4;

#[cfg(not(tower_breaker_loom))]
fn width() -> usize {
    let threads = std::thread::available_parallelism().map_or(4, std::num::NonZero::get);
    // They are two at least, or they had not met.
    threads.next_power_of_two().clamp(2, MOST_COUNTERS)
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

#[cfg(tower_breaker_loom)]
fn width() -> usize {
    2
}

// A model chooses whether its threads share a counter. By default they do: that is the harder case.
#[cfg(tower_breaker_loom)]
loom::thread_local! {
    pub(super) static THREAD_INDEX: std::cell::Cell<usize> = std::cell::Cell::new(0);
}

#[cfg(tower_breaker_loom)]
fn thread_index() -> usize {
    THREAD_INDEX.with(std::cell::Cell::get)
}

#[cfg(all(test, not(tower_breaker_loom)))]
mod tests {
    use super::*;

    /// Other threads may fill the counters between a drain and the publication after it.
    #[test]
    fn counters_that_are_full_keep_their_count_when_they_are_opened_again() {
        const EPOCH: u64 = 3;
        const LIMIT: u64 = 2;
        let (shared, spread) = (AtomicU64::new(closed()), SpreadCounters::default());
        let successes = Successes { shared: &shared, spread: &spread };
        successes.open(EPOCH, LIMIT);
        for expected in [Counted::Yes, Counted::Yes, Counted::No] {
            assert_eq!(successes.count(EPOCH, false), expected);
        }
        successes.open(EPOCH, LIMIT);
        assert_eq!(successes.drain(EPOCH, LIMIT), LIMIT);
        assert_eq!(successes.count(EPOCH, false), Counted::Yes, "it is open again");
        assert_eq!(successes.drain_and_close(EPOCH, LIMIT), 1);
        assert_eq!(successes.count(EPOCH, false), Counted::No, "it is closed");
    }

    fn counters(spread: &SpreadCounters) -> usize {
        spread.iter().count()
    }

    #[test]
    fn threads_that_go_on_meeting_get_more_counters_up_to_a_bound() {
        let (shared, spread) = (AtomicU64::new(closed()), SpreadCounters::default());
        let successes = Successes { shared: &shared, spread: &spread };
        successes.spread();
        let mut expected = counters(&spread);
        for epoch in 1..10 {
            successes.open(epoch, 9);
            assert_eq!(successes.count(epoch, true), Counted::Yes);
            assert_eq!(successes.drain_and_close(epoch, 9), 1);
            successes.spread();
            expected = (2 * expected).min(MOST_COUNTERS);
            assert_eq!(counters(&spread), expected);
        }
        assert_eq!(expected, MOST_COUNTERS);
    }

    /// A thread on one processor sees no other, but another thread has met it.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_pinned_thread_allocates_a_counter_for_the_thread_that_it_has_met() {
        let pinned = std::thread::spawn(|| {
            let own = std::fs::read_link("/proc/thread-self").unwrap();
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let allowed = status.split("Cpus_allowed_list:").nth(1).unwrap().trim_start();
            let first = allowed.split(|byte: char| !byte.is_ascii_digit()).next().unwrap();
            let taskset = std::process::Command::new("taskset")
                .args(["-cp", first])
                .arg(own.file_name().unwrap())
                .output()
                .unwrap();
            assert!(taskset.status.success(), "{taskset:?}");
            assert_eq!(std::thread::available_parallelism().unwrap().get(), 1);
            let spread = SpreadCounters::default();
            spread.add();
            assert!(counters(&spread) >= 2);
        });
        pinned.join().unwrap();
    }
}
