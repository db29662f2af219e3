//! A window over the calls of the last T.

use std::time::Duration;

use super::counts::Counts;
use crate::{
    clock::{Tick, nanos},
    seconds,
    snapshot::BucketSnapshot,
};

/// The calls of the last T, in a ring of buckets: memory and work do not grow with traffic. A
/// call drops out with its bucket: at the age of T, or up to one bucket earlier.
#[derive(Debug)]
pub(crate) struct TimeWindow {
    /// The length of a bucket, in nanoseconds.
    width: u64,
    /// When the newest bucket ends.
    end: Tick,
    /// Where the newest bucket is; the oldest follows it in the ring.
    newest: usize,
    totals: Counts,
    /// What was added since the window was last empty, of any age.
    recorded: Counts,
    ring: Box<[Bucket]>,
}

/// Smaller than [`Counts`]: a bucket saturates at four billion calls.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    calls: u32,
    failures: u32,
    slow_calls: u32,
}

impl Bucket {
    fn counts(self) -> Counts {
        Counts {
            calls: self.calls.into(),
            failures: self.failures.into(),
            slow_calls: self.slow_calls.into(),
        }
    }

    /// Adds as much as fits, and returns how much that was.
    fn add(&mut self, more: Counts) -> Counts {
        Counts {
            calls: fill(&mut self.calls, more.calls),
            failures: fill(&mut self.failures, more.failures),
            slow_calls: fill(&mut self.slow_calls, more.slow_calls),
        }
    }
}

fn fill(count: &mut u32, more: u64) -> u64 {
    let room = u32::MAX - *count;
    let added = u32::try_from(more).unwrap_or(u32::MAX).min(room);
    *count += added;
    added.into()
}

impl TimeWindow {
    const BUCKETS: usize = 40;

    pub(super) fn new(time: Duration, now: Tick) -> Self {
        Self::empty((nanos(time) / Self::BUCKETS as u64).max(1), now)
    }

    fn empty(width: u64, now: Tick) -> Self {
        Self {
            width,
            end: now.after(Duration::from_nanos(width)),
            newest: 0,
            totals: Counts::default(),
            recorded: Counts::default(),
            ring: vec![Bucket::default(); Self::BUCKETS].into_boxed_slice(),
        }
    }

    /// When the newest bucket ends.
    pub(super) fn end(&self) -> Tick {
        self.end
    }

    pub(super) fn totals(&self) -> Counts {
        self.totals
    }

    #[allow(dead_code, reason = "used where breakers are shared")]
    pub(super) fn recorded(&self) -> Counts {
        self.recorded
    }

    pub(super) fn clear(&mut self, now: Tick) {
        *self = Self::empty(self.width, now);
    }

    /// Takes over the calls of another window, by their age.
    pub(super) fn continue_from(&mut self, other: &Self, now: Tick) {
        self.adopt(&other.buckets(now), now, Duration::ZERO);
    }

    pub(super) fn add(&mut self, counts: Counts, now: Tick) {
        self.advance(now);
        self.totals.add(self.ring[self.newest].add(counts));
        self.recorded.add(counts);
    }

    pub(super) fn advance(&mut self, now: Tick) {
        if now < self.end {
            return;
        }
        let passed = nanos(now.since(self.end)) / self.width + 1;
        self.end = self.end.after(Duration::from_nanos(passed.saturating_mul(self.width)));
        let rotations = usize::try_from(passed).unwrap_or(usize::MAX).min(Self::BUCKETS);
        for _ in 0..rotations {
            self.newest = (self.newest + 1) % Self::BUCKETS;
            let dropped = std::mem::take(&mut self.ring[self.newest]);
            self.totals.subtract(dropped.counts());
        }
    }

    /// The buckets with their ages, newest first. The newest is included even if it is empty: its
    /// age fixes the bucket boundaries.
    pub(super) fn buckets(&self, now: Tick) -> Vec<BucketSnapshot> {
        let start = self.end.before(Duration::from_nanos(self.width));
        let mut buckets = Vec::new();
        for back in 0..Self::BUCKETS {
            let bucket = self.ring[(self.newest + Self::BUCKETS - back) % Self::BUCKETS];
            if back == 0 || bucket.calls > 0 {
                let began = start.before(Duration::from_nanos(back as u64 * self.width));
                let Counts { calls, failures, slow_calls } = bucket.counts();
                let age = seconds::representable(now.since(began));
                buckets.push(BucketSnapshot::new(age, calls, failures, slow_calls));
            }
        }
        buckets
    }

    /// Puts each bucket where its age says. Windows of the same length keep their bucket
    /// boundaries, so that a restart changes nothing.
    pub(super) fn adopt(&mut self, buckets: &[BucketSnapshot], now: Tick, downtime: Duration) {
        let began = |bucket: &BucketSnapshot| now.before(bucket.age.saturating_add(downtime));
        let Some(newest) = buckets.first().map(began) else {
            return;
        };
        *self = Self { recorded: self.recorded, ..Self::empty(self.width, newest) };
        for bucket in buckets {
            // Half a bucket absorbs the rounding of the age in JSON.
            let age =
                nanos(newest.since(began(bucket))).saturating_add(self.width / 2) / self.width;
            self.add_back(age, bucket);
        }
        self.advance(now);
    }

    /// Adds the calls of another window to those in this one, by their age. A bucket that lies
    /// across two of this window goes into the older one: no call stays longer than it would have.
    pub(super) fn prepend(&mut self, buckets: &[BucketSnapshot], now: Tick, downtime: Duration) {
        self.advance(now);
        let start = self.end.before(Duration::from_nanos(self.width));
        let age_of_newest = now.nanos_since(start);
        for bucket in buckets {
            let age = nanos(bucket.age.saturating_add(downtime));
            self.add_back(age.saturating_sub(age_of_newest).div_ceil(self.width), bucket);
        }
    }

    /// Adds a saved bucket to the one that is this many before the newest, if there is one.
    fn add_back(&mut self, back: u64, saved: &BucketSnapshot) {
        let Some(back) = usize::try_from(back).ok().filter(|back| *back < Self::BUCKETS) else {
            return;
        };
        let counts = Counts {
            calls: saved.calls,
            failures: saved.failures.min(saved.calls),
            slow_calls: saved.slow_calls.min(saved.calls),
        };
        let place = (self.newest + Self::BUCKETS - back) % Self::BUCKETS;
        self.totals.add(self.ring[place].add(counts));
    }
}

#[cfg(test)]
mod tests {
    use super::{super::counts::Sample, *};

    const FAILURE: Sample = Sample { failed: true, slow: false };

    fn at(seconds: f64) -> Tick {
        Tick::new(Duration::from_secs_f64(seconds))
    }

    fn counts(calls: u64, failures: u64) -> Counts {
        Counts { calls, failures, slow_calls: 0 }
    }

    #[test]
    fn a_time_window_drops_a_call_at_its_length_or_up_to_a_bucket_earlier() {
        let mut window = TimeWindow::new(Duration::from_secs(10), at(0.0));
        window.add(FAILURE.into(), at(0.1));
        window.advance(at(9.7));
        assert_eq!(window.totals, counts(1, 1));
        window.advance(at(10.1));
        assert_eq!(window.totals, counts(0, 0));
    }

    #[test]
    fn a_time_window_survives_a_pause_of_any_length() {
        let mut window = TimeWindow::new(Duration::from_secs(10), at(0.0));
        window.add(FAILURE.into(), at(0.0));
        window.advance(Tick::from_nanos(u64::MAX - 1));
        assert_eq!(window.totals, Counts::default());
        let _ = window.buckets(Tick::NEVER);
    }

    #[test]
    fn a_restored_time_window_has_the_same_bucket_boundaries() {
        let mut window = TimeWindow::new(Duration::from_secs(10), at(0.0));
        for step in 0..30 {
            window.add(FAILURE.into(), at(f64::from(step) * 0.3));
        }
        let saved = window.buckets(at(8.75));
        let mut restored = TimeWindow::new(Duration::from_secs(10), at(100.0));
        restored.adopt(&saved, at(100.0), Duration::ZERO);
        for step in 0..100 {
            let later = f64::from(step) * 0.11;
            window.advance(at(8.75 + later));
            restored.advance(at(100.0 + later));
            assert_eq!(restored.totals, window.totals, "{later} s after the restart");
        }
    }

    #[test]
    fn calls_of_another_window_are_added_by_their_age() {
        let mut saved = TimeWindow::new(Duration::from_secs(10), at(0.0));
        saved.add(FAILURE.into(), at(0.1));
        saved.add(FAILURE.into(), at(5.0));
        let saved = saved.buckets(at(6.0));
        let mut window = TimeWindow::new(Duration::from_secs(10), at(100.1));
        window.add(Counts { calls: 3, ..Counts::default() }, at(100.2));
        // Two seconds after it was saved.
        window.prepend(&saved, at(101.0), Duration::from_secs(2));
        assert_eq!(window.totals, counts(5, 2));
        window.advance(at(103.1));
        assert_eq!(window.totals, counts(4, 1), "the first is ten seconds old");
        window.advance(at(108.0));
        assert_eq!(window.totals, counts(3, 0), "and the second");
        window.prepend(&saved, at(108.0), Duration::from_secs(20));
        assert_eq!(window.totals, counts(3, 0), "both are too old");
    }
}
