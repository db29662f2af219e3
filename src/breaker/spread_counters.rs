//! The counters of a cell in which threads have met.

use super::{
    counter::{self, Counted, DISABLED, MOST_PENDING},
    failure_log::FailureLog,
};
use crate::sync::{AtomicU64, OnceBox};

/// The counters of a cell in which two threads have met, once allocated. They stay with the cell.
/// A single pointer, because every cell pays for this field, and few need it.
#[derive(Default)]
pub(super) struct SpreadCounters(OnceBox<Counters>);

/// Read at each success that is counted here, so no other data shares the cache line.
#[repr(align(64))]
pub(super) struct Counters {
    /// A power of two of them.
    list: Box<[Counter]>,
    /// Failures that came among their successes.
    pub(super) failures: Box<FailureLog>,
    /// Those that are used instead of these, once threads have met here again.
    more: OnceBox<Counters>,
}

/// Processors fetch cache lines in pairs.
#[repr(align(128))]
struct Counter(AtomicU64);

const MOST_COUNTERS: u8 = 16;

/// How often a thread tries to count on a counter of its own. Others change it too, but seldom: a
/// holder of the lock, and threads with which it shares the counter.
const ATTEMPTS: u32 = 4;

impl SpreadCounters {
    /// The counters in use.
    #[inline]
    pub(super) fn get(&self) -> Option<&Counters> {
        let mut counters = self.0.get()?;
        while let Some(more) = counters.more.get() {
            counters = more;
        }
        Some(counters)
    }

    /// How many counters are in use; 1 is the one that all threads share.
    fn width(&self) -> u8 {
        self.get().map_or(1, Counters::width)
    }

    /// Allocates counters to use instead of the present ones, if there are still as few as those on
    /// which threads have `met`: several threads that met there are to double them once.
    pub(super) fn allocate(&self, met: u8) {
        if self.width() != met {
            return;
        }
        match self.get() {
            None => {
                self.0.get_or_init(|| Box::new(Counters::disabled(width())));
            }
            Some(counters) if met < MOST_COUNTERS => {
                counters.more.get_or_init(|| Box::new(Counters::disabled(2 * met)));
            }
            Some(_) => {}
        }
    }
}

impl Counters {
    fn disabled(number: u8) -> Self {
        let list = (0..number).map(|_| Counter(AtomicU64::new(DISABLED))).collect();
        let failures = Box::new(FailureLog::disabled());
        Self { list, failures, more: OnceBox::default() }
    }

    fn width(&self) -> u8 {
        u8::try_from(self.list.len()).unwrap_or(MOST_COUNTERS)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &AtomicU64> {
        self.list.iter().map(|counter| &counter.0)
    }

    /// Counts a success on the counter of the current thread. One that meets another thread there
    /// tries again.
    #[inline]
    pub(super) fn count(&self, epoch: u64) -> Counted {
        let counter = &self.list[thread_index() & (self.list.len() - 1)].0;
        for _ in 0..ATTEMPTS {
            match counter::count(counter, epoch) {
                Counted::Contended { .. } => {}
                other => return other,
            }
        }
        // The caller takes the lock.
        let counters = self.width();
        if counters < MOST_COUNTERS { Counted::Contended { counters } } else { Counted::No }
    }

    /// The limit of one of these counters, where a single counter would have this one.
    pub(super) fn limit(&self, of_one: u64) -> u64 {
        of_one.min(u64::from(MOST_PENDING) / self.list.len() as u64)
    }

    /// Takes the counts of those that are enabled, and goes on counting.
    pub(super) fn drain(&self, epoch: u64, limit: u64) -> u64 {
        self.take(epoch, limit, counter::enabled(epoch, limit))
    }

    /// Takes the counts of those that are enabled, and disables them.
    pub(super) fn drain_and_disable(&self, epoch: u64, limit: u64) -> u64 {
        self.take(epoch, limit, DISABLED)
    }

    fn take(&self, epoch: u64, limit: u64, next: u64) -> u64 {
        self.iter().map(|counter| counter::take(counter, epoch, limit, next)).sum()
    }
}

#[cfg(not(tower_breaker_loom))]
fn width() -> u8 {
    let threads = std::thread::available_parallelism().map_or(4, std::num::NonZero::get);
    let threads = u8::try_from(threads).unwrap_or(MOST_COUNTERS).min(MOST_COUNTERS);
    // They are two at least, or they had not met.
    threads.next_power_of_two().max(2)
}

/// A number of the current thread's own. Threads share the counters evenly by it.
#[cfg(not(tower_breaker_loom))]
#[inline]
fn thread_index() -> usize {
    use std::{
        cell::Cell,
        sync::atomic::{AtomicUsize, Ordering},
    };
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
fn width() -> u8 {
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

    #[test]
    fn threads_that_go_on_meeting_get_more_counters_up_to_a_bound() {
        let spread = SpreadCounters::default();
        spread.allocate(1);
        let mut expected = spread.width();
        assert!(expected > 1);
        for epoch in 1..10 {
            spread.get().unwrap().iter().for_each(|counter| counter::enable(counter, epoch, 9));
            assert_eq!(spread.get().unwrap().count(epoch), Counted::Yes);
            assert_eq!(spread.get().unwrap().drain_and_disable(epoch, 9), 1);
            // Two threads met, and each of them allocates counters.
            (0..2).for_each(|_| spread.allocate(expected));
            expected = (2 * expected).min(MOST_COUNTERS);
            assert_eq!(spread.width(), expected);
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
            spread.allocate(1);
            assert!(spread.width() >= 2);
        });
        pinned.join().unwrap();
    }
}
