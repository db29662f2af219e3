//! One counter of successes, in a word.
//!
//! | bits | what they hold |
//! |---|---|
//! | 24, high | the tag: the low bits of the [epoch](super::packed_state) whose successes it counts |
//! | 9 | zero |
//! | 1 | whether it is disabled |
//! | 30, low | the count, from a base up to all ones, which is full |
//!
//! Counting is a compare-and-swap from a value that was seen enabled and with the epoch's tag, so a
//! thread that was held up in between does not reach the next epoch. (A tag recurs after 16 million
//! epochs; for an error, all of them would have to pass within those two instructions.)
//!
//! A counter for each thread that this thread alone writes would do without the compare-and-swap,
//! which is nearly all that such a success costs. But then a thread could not be kept from counting
//! after the counters were read, and before the state that follows from that is published: its
//! success would be lost, although its next call still finds the circuit closed. To exclude that,
//! each success would need a full fence, which costs as much.
//!
//! The base is such that the counter is full after a number of successes that the rules choose.

use crate::sync::{AtomicU64, Ordering};

const TAG_SHIFT: u32 = 40;
/// The value of a counter that counts nothing.
///
/// Fits into an immediate operand, with room for the largest count window.
pub(super) const DISABLED: u64 = 1 << 30;
const FULL: u64 = DISABLED - 1;

/// How many successes may wait for the next holder of the lock. In a large window, they are 16 KiB
/// of the ring, which take a few microseconds even if none of it is in the processor's cache.
pub(super) const MOST_PENDING: u32 = 1 << 16;

/// More successes than a counter can hold before the next one takes the lock.
#[cfg(all(test, tower_breaker_loom))]
pub(super) const UNLIMITED: u64 = FULL;

/// What became of a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    Yes,
    /// The counter is disabled, full, or of another epoch.
    No,
    /// Other threads changed the counter at the same time: one of this many counters.
    Contended {
        counters: u8,
    },
}

const fn tag(epoch: u64) -> u64 {
    epoch << TAG_SHIFT
}

pub(super) const fn enabled(epoch: u64, limit: u64) -> u64 {
    tag(epoch) | (FULL - limit)
}

/// Whether a counter with this value takes a success of this epoch: one comparison for the tag, the
/// disabled bit and the room.
#[inline]
pub(super) const fn has_room(value: u64, epoch: u64) -> bool {
    value ^ tag(epoch) < FULL
}

/// Whether a counter is enabled for this epoch; it may be full.
pub(super) const fn is_enabled(value: u64, epoch: u64) -> bool {
    value ^ tag(epoch) <= FULL
}

#[inline]
pub(super) fn count(counter: &AtomicU64, epoch: u64) -> Counted {
    let seen = counter.load(Ordering::Relaxed);
    if !has_room(seen, epoch) {
        return Counted::No;
    }
    match counter.compare_exchange(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed) {
        Ok(_) => Counted::Yes,
        Err(_) => Counted::Contended { counters: 1 },
    }
}

/// Enables a counter that is disabled or of an earlier epoch.
pub(super) fn enable(counter: &AtomicU64, epoch: u64, limit: u64) {
    if !is_enabled(counter.load(Ordering::Relaxed), epoch) {
        counter.store(enabled(epoch, limit), Ordering::Release);
    }
}

/// Takes the count of a counter that is enabled, and gives it this value.
pub(super) fn take(counter: &AtomicU64, epoch: u64, limit: u64, next: u64) -> u64 {
    // There is seldom anything to take, and a load leaves the line with its owner.
    let seen = counter.load(Ordering::Acquire);
    // Nothing but a count changes meanwhile.
    if seen == next || !is_enabled(seen, epoch) {
        return 0;
    }
    let last = counter.swap(next, Ordering::AcqRel) ^ tag(epoch);
    last.saturating_sub(FULL - limit)
}

/// Takes what an enabled counter has counted since it was last `drained`.
///
/// While that is little, and at most half of its room is used up, it counts on, and `drained` says
/// how much was taken: a locked instruction takes longer than all else that a failure does.
#[inline]
pub(super) fn take_new(counter: &AtomicU64, epoch: u64, limit: u64, drained: &mut u8) -> u64 {
    let count = (counter.load(Ordering::Acquire) ^ tag(epoch)).saturating_sub(FULL - limit);
    let before = u64::from(*drained);
    match u8::try_from(count) {
        Ok(count) if u64::from(count) <= limit / 2 => {
            *drained = count;
            u64::from(count).saturating_sub(before)
        }
        _ => {
            *drained = 0;
            take(counter, epoch, limit, enabled(epoch, limit)).saturating_sub(before)
        }
    }
}

#[cfg(all(test, not(tower_breaker_loom)))]
mod tests {
    use super::*;

    const EPOCH: u64 = 3;

    /// Every success is taken once, and at least half of the room is left.
    #[test]
    fn what_is_new_is_taken_once_whether_or_not_the_counter_counts_on() {
        for limit in [1, 2, 3, 100, 10_000] {
            let counter = AtomicU64::new(enabled(EPOCH, limit));
            let mut random = fastrand::Rng::with_seed(limit);
            let (mut drained, mut expected, mut taken) = (0, 0, 0);
            for _ in 0..1_000 {
                for _ in 0..random.u64(..10) {
                    match count(&counter, EPOCH) {
                        Counted::Yes => expected += 1,
                        other => assert_eq!(other, Counted::No),
                    }
                }
                taken += take_new(&counter, EPOCH, limit, &mut drained);
                assert_eq!(taken, expected, "a limit of {limit}");
                assert!(u64::from(drained) <= limit / 2, "{drained} of {limit}");
                assert_eq!(
                    counter.load(Ordering::Relaxed),
                    enabled(EPOCH, limit) + u64::from(drained)
                );
            }
        }
    }
}
