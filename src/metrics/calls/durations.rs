//! The durations of calls, between two publications.
//!
//! A call adds one to the counter of its duration's range; the timer thread hands the ranges
//! to the recorder. So no call waits for the recorder, whatever that does, and memory does not grow
//! with traffic. A range is at most 1/32 of its begin wide, and stands for its middle: what is
//! reported is at most 1.6% off.
//!
//! The counters are in a map whose readers take no lock and share no count, so that those of a
//! meter that is gone can be freed.

use std::{
    hash::{BuildHasherDefault, Hasher},
    sync::{
        LazyLock, OnceLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use papaya::HashMap;

use crate::outcome::CallEnd;

/// The ends of calls that have a duration, from the first one on.
pub(super) const OUTCOMES: [&str; 5] = ["success", "failure", "throttled", "ignored", "cancelled"];

/// A power of two is divided into two to the power of this many ranges.
const PRECISION: u32 = 5;

/// What is shorter than two to the power of this in nanoseconds, 1 us, is in the first range.
const SHORTEST: u32 = 10;

/// What is longer than two to the power of this in nanoseconds, some 73 minutes, is in the last.
const LONGEST: u32 = 42;

const RANGES: usize = ((LONGEST - SHORTEST) as usize) << PRECISION;

type Counts = Box<[AtomicU32]>;

/// The counts of one slot, by the ends of calls.
type SlotCounts = [OnceLock<Counts>; OUTCOMES.len()];

/// By slot.
static ALL: LazyLock<HashMap<u32, SlotCounts, BuildHasherDefault<SlotHasher>>> =
    LazyLock::new(HashMap::default);

/// Spreads the slots, which are small numbers in a row.
#[derive(Default)]
struct SlotHasher(u64);

impl Hasher for SlotHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u32(&mut self, slot: u32) {
        self.0 = u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn range(duration: Duration) -> usize {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let nanos = nanos.clamp(1 << SHORTEST, (1 << LONGEST) - 1);
    let power = nanos.ilog2();
    let part = (nanos >> (power - PRECISION)) as usize & ((1 << PRECISION) - 1);
    (((power - SHORTEST) as usize) << PRECISION) | part
}

/// The middle of a range, in seconds.
fn seconds(range: usize) -> f64 {
    let power = SHORTEST + u32::try_from(range >> PRECISION).unwrap_or(0);
    let part = (range & ((1 << PRECISION) - 1)) as u64;
    let width = 1 << (power - PRECISION);
    let begin = (1 << power) + part * width;
    Duration::from_nanos(begin + width / 2).as_secs_f64()
}

/// Adds the duration of a call.
pub(super) fn record(slot_number: u32, end: CallEnd, duration: Duration) {
    let all = ALL.pin();
    let slot = all.get_or_insert_with(slot_number, SlotCounts::default);
    let Some(counts) = slot.get(end as usize) else { return };
    let counts = counts.get_or_init(|| (0..RANGES).map(|_| AtomicU32::new(0)).collect());
    counts[range(duration)].fetch_add(1, Relaxed);
}

/// Takes out what was added since the last time: for each end of a call, seconds and how often.
pub(super) fn drain(slot_number: u32, mut take: impl FnMut(&'static str, f64, usize)) {
    let all = ALL.pin();
    let slot = all.get(&slot_number);
    for (outcome, counts) in OUTCOMES.iter().zip(slot.into_iter().flatten()) {
        for (range, count) in counts.get().into_iter().flatten().enumerate() {
            if count.load(Relaxed) != 0 {
                take(outcome, seconds(range), count.swap(0, Relaxed) as usize);
            }
        }
    }
}

/// Frees the counters of a meter that is gone, some later than others: at the latest with those of
/// the next dozens.
pub(super) fn give_back(slot_number: u32) {
    ALL.pin().remove(&slot_number);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_range_is_at_most_1_6_percent_from_what_it_holds(nanos in 1_u64 << 10..1 << 42) {
            let duration = Duration::from_nanos(nanos);
            let error = seconds(range(duration)) / duration.as_secs_f64() - 1.0;
            prop_assert!(error.abs() < 0.016, "{error}");
        }
    }

    #[test]
    fn every_duration_has_a_range() {
        assert_eq!(range(Duration::ZERO), 0);
        assert_eq!(range(Duration::from_nanos((1 << 10) - 1)), 0);
        assert_eq!(range(Duration::from_nanos((1 << 42) - 1)), RANGES - 1);
        assert_eq!(range(Duration::MAX), RANGES - 1);
    }

    #[test]
    fn what_was_recorded_is_taken_out_once() {
        // Slots that no meter of another unit test has.
        let (first, second) = (200_000, 200_001);
        let taken = |slot| {
            let mut taken = Vec::new();
            drain(slot, |outcome, seconds, count| {
                taken.push((outcome, (seconds * 1000.0).round(), count));
            });
            taken
        };
        assert_eq!(taken(first), []);
        for _ in 0..3 {
            record(first, CallEnd::Success, Duration::from_millis(20));
        }
        record(first, CallEnd::Cancelled, Duration::from_millis(3));
        record(first, CallEnd::Rejected, Duration::ZERO);
        record(second, CallEnd::Failure, Duration::from_millis(3));
        assert_eq!(taken(first), [("success", 20.0, 3), ("cancelled", 3.0, 1)]);
        assert_eq!(taken(first), []);
        assert_eq!(taken(second), [("failure", 3.0, 1)]);
        record(second, CallEnd::Failure, Duration::from_millis(3));
        give_back(second);
        assert!(!ALL.pin().contains_key(&second));
        assert_eq!(taken(second), []);
    }
}
