//! How many different keys a group has seen in the last minute, in bounded memory.
//!
//! Up to [`CAPACITY`] keys are known one by one, so their number is exact. With more, only a sample
//! is: the keys whose hash begins with `bits` zero bits, one more each time the sample is full.
//! Each key of the sample then stands for `2^bits` keys, and the standard error of the number is at
//! most 2.2%, that of 2,048 keys.
//!
//! A key is noted once in five seconds. Otherwise a call reads two words, or a few more where keys
//! share a set of [marks](Marks), and writes none.

mod marks;

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use self::marks::Marks;
use crate::{
    breaker::open_slots::Lately,
    clock::{Tick, nanos},
    sync::std_lock,
};

/// The most keys that are known one by one.
const CAPACITY: usize = 4096;

/// The resolution of the time.
const EPOCH: Duration = Duration::from_secs(5);

/// A key counts for a minute after its last call, and until the end of an epoch.
const EPOCHS: u32 = 12;

/// The keys that were seen lately.
pub(super) struct SeenKeys {
    /// The epoch of the last clean-up, and the bits of the sample below it.
    state: AtomicU64,
    marks: Marks,
    sample: Mutex<Sample>,
}

#[derive(Default)]
struct Sample {
    bits: u32,
    /// The newest epoch in which what is too old was removed.
    epoch: u32,
    /// The last epoch of each key, by its hash.
    last_seen: HashMap<u64, u32>,
}

/// Whether a call was noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// An earlier one of the same key was, in the same epoch.
    Before,
    Now,
    /// The key is not in the sample.
    Not,
}

impl SeenKeys {
    pub(super) fn new() -> Self {
        Self { state: AtomicU64::new(0), marks: Marks::new(CAPACITY), sample: Mutex::default() }
    }

    /// Notes a call of the key with this hash, whose bits are all random. A key outside the sample
    /// takes no lock, except with the first call of an epoch.
    #[inline]
    pub(super) fn note(&self, hash: u64, now: Tick) -> Noted {
        let epoch = epoch(now);
        let state = self.state.load(Relaxed);
        let is_clean = (state >> 32) >= u64::from(epoch);
        if is_clean && u64::from(hash.leading_zeros()) < state & u64::from(u32::MAX) {
            return Noted::Not;
        }
        if is_clean && self.marks.has(hash, epoch) {
            return Noted::Before;
        }
        self.note_in_sample(hash, epoch);
        self.marks.set(hash, epoch);
        Noted::Now
    }

    #[cold]
    fn note_in_sample(&self, hash: u64, epoch: u32) {
        let mut sample = std_lock(&self.sample);
        sample.clean_up(epoch);
        sample.note(hash, epoch);
        self.publish(&sample);
    }

    /// How many different keys have been noted within the last minute.
    pub(super) fn count(&self, now: Tick) -> u64 {
        let mut sample = std_lock(&self.sample);
        sample.clean_up(epoch(now));
        self.publish(&sample);
        sample.count()
    }

    fn publish(&self, sample: &Sample) {
        self.state.store(u64::from(sample.epoch) << 32 | u64::from(sample.bits), Relaxed);
    }
}

impl Sample {
    fn note(&mut self, hash: u64, epoch: u32) {
        if hash.leading_zeros() < self.bits {
            return;
        }
        let last = self.last_seen.entry(hash).or_default();
        *last = epoch.max(*last);
        while self.last_seen.len() > CAPACITY {
            self.bits += 1;
            self.last_seen.retain(|hash, _| hash.leading_zeros() >= self.bits);
        }
    }

    /// At the beginning of an epoch, removes what is too old, and takes a larger sample if few are
    /// left. The keys that it lacks are noted with their next calls: until then, the count is too
    /// low.
    fn clean_up(&mut self, epoch: u32) {
        if epoch <= self.epoch {
            return;
        }
        self.epoch = epoch;
        self.last_seen.retain(|_, last| epoch.saturating_sub(*last) <= EPOCHS);
        let mut expected = self.last_seen.len();
        while self.bits > 0 && expected < CAPACITY / 4 {
            self.bits -= 1;
            expected = (2 * expected).max(1);
        }
        if self.last_seen.is_empty() {
            self.bits = 0;
        }
    }

    fn count(&self) -> u64 {
        let sampled = u64::try_from(self.last_seen.len()).unwrap_or(u64::MAX);
        sampled << self.bits
    }
}

/// The epoch of this moment, and the first one whose keys still count.
pub(super) fn lately(now: Tick) -> Lately {
    let now = epoch(now);
    Lately { now, since: now.saturating_sub(EPOCHS) }
}

fn epoch(now: Tick) -> u32 {
    u32::try_from(now.as_nanos() / nanos(EPOCH)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::mpsc, thread};

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::new(Duration::from_secs(seconds))
    }

    fn note(seen: &SeenKeys, hash: u64, now: Tick) {
        seen.note(hash, now);
    }

    /// A hash as random as that of the group.
    fn hash(key: u64) -> u64 {
        let mut random = fastrand::Rng::with_seed(key);
        random.u64(..)
    }

    proptest! {
        /// The model knows when each key was seen last.
        #[test]
        fn few_keys_are_counted_exactly(
            steps in proptest::collection::vec((0..40_u64, 0..30_u64), 1..300),
        ) {
            let seen = SeenKeys::new();
            let mut last_seen = HashMap::new();
            let mut now = 0;
            for (key, passed) in steps {
                now += passed / 10;
                note(&seen, hash(key), at(now));
                last_seen.insert(key, now / 5);
                let expected = last_seen.values().filter(|last| now / 5 - **last <= 12).count();
                prop_assert_eq!(seen.count(at(now)), expected as u64);
            }
        }
    }

    #[test]
    fn exactly_as_many_keys_as_are_known_one_by_one_are_counted_exactly() {
        let seen = SeenKeys::new();
        for round in 0..3 {
            (0..CAPACITY as u64).for_each(|key| note(&seen, hash(key), at(round)));
            assert_eq!(seen.count(at(round)), CAPACITY as u64);
        }
    }

    #[test]
    fn a_million_keys_are_counted_with_a_small_error_in_bounded_memory() {
        let seen = SeenKeys::new();
        for (keys, seconds) in [(20_000, 0), (200_000, 1), (1_000_000, 2)] {
            (0..keys).for_each(|key| note(&seen, hash(key), at(seconds)));
            let error = seen.count(at(seconds)) as f64 / keys as f64 - 1.0;
            // Four times the standard error; the hashes are the same in each run.
            assert!(error.abs() < 0.088, "{keys} keys: {error}");
        }
        assert!(std_lock(&seen.sample).last_seen.capacity() <= 4 * CAPACITY);
    }

    #[test]
    fn calls_of_keys_outside_the_sample_do_not_wait_for_its_lock() {
        let seen = SeenKeys::new();
        (0..100_000).for_each(|key| note(&seen, hash(key), at(0)));
        let sample = std_lock(&seen.sample);
        let outside: Vec<u64> =
            (0..100_000).map(hash).filter(|hash| hash.leading_zeros() < sample.bits).collect();
        assert!(outside.len() > 90_000);
        let (done, is_done) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                let noted = outside.iter().filter(|hash| seen.note(**hash, at(1)) != Noted::Not);
                let _ = done.send(noted.count());
            });
            let noted = is_done.recv_timeout(Duration::from_secs(30));
            drop(sample);
            assert_eq!(noted, Ok(0));
        });
    }

    #[test]
    fn calls_of_keys_that_share_a_set_of_marks_do_not_wait_for_the_lock() {
        let seen = SeenKeys::new();
        let hashes: Vec<u64> = (1..=4).map(|key| key << 40 | 7).collect();
        for hash in &hashes {
            note(&seen, *hash, at(5));
        }
        let sample = std_lock(&seen.sample);
        let (done, is_done) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                let notes = (0..100).flat_map(|_| &hashes).map(|hash| seen.note(*hash, at(9)));
                let _ = done.send(notes.filter(|noted| *noted != Noted::Before).count());
            });
            let noted = is_done.recv_timeout(Duration::from_secs(30));
            drop(sample);
            assert_eq!(noted, Ok(0));
        });
    }

    #[test]
    fn after_a_flood_of_keys_few_are_counted_exactly_again() {
        let seen = SeenKeys::new();
        (0..1_000_000).for_each(|key| note(&seen, hash(key), at(0)));
        (0..10).for_each(|key| note(&seen, hash(key), at(70)));
        assert_eq!(seen.count(at(70)), 10);
    }

    #[test]
    fn a_thread_with_an_older_time_changes_nothing() {
        let seen = SeenKeys::new();
        note(&seen, hash(1), at(100));
        note(&seen, hash(1), at(10));
        note(&seen, hash(2), at(99));
        assert_eq!(seen.count(at(159)), 2);
        assert_eq!(seen.count(at(100)), 2);
        assert_eq!(seen.count(at(160)), 1, "only the first was seen at 100");
        assert_eq!(seen.count(at(165)), 0);
    }

    #[test]
    fn threads_that_note_the_same_keys_count_each_once() {
        let seen = SeenKeys::new();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|key| note(&seen, hash(key), at(1))));
            }
        });
        assert_eq!(seen.count(at(1)), 1000);
    }
}
