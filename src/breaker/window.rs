//! The calls that a rate looks at: the last so many, or those of the last so long.

use std::time::Duration;

use crate::{
    clock::{Tick, nanos},
    config,
    snapshot::{BucketSnapshot, WindowContent},
};

/// One recorded call, as a window sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) failed: bool,
    pub(crate) slow: bool,
}

/// How many calls, and how many of them went wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    pub(crate) slow_calls: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failures = self.failures.saturating_add(other.failures);
        self.slow_calls = self.slow_calls.saturating_add(other.slow_calls);
    }

    fn subtract(&mut self, other: Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.failures = self.failures.saturating_sub(other.failures);
        self.slow_calls = self.slow_calls.saturating_sub(other.slow_calls);
    }

    fn of(call: Call) -> Self {
        Self { calls: 1, failures: u64::from(call.failed), slow_calls: u64::from(call.slow) }
    }
}

#[derive(Debug)]
pub(crate) enum Window {
    Count(CountWindow),
    Time(Box<TimeWindow>),
}

impl Window {
    pub(crate) fn new(window: config::Window, now: Tick) -> Self {
        match window {
            config::Window::Calls(calls) => Self::Count(CountWindow::new(calls)),
            config::Window::Time(time) => Self::Time(Box::new(TimeWindow::new(time, now))),
        }
    }

    #[inline]
    pub(crate) fn record(&mut self, call: Call, now: Tick) {
        match self {
            Self::Count(window) => window.record(call),
            Self::Time(window) => window.add(Counts::of(call), now),
        }
    }

    /// What the window holds, as of the time it was last brought to.
    #[inline]
    pub(crate) fn counts(&self) -> Counts {
        match self {
            Self::Count(window) => window.counts(),
            Self::Time(window) => window.totals,
        }
    }

    /// Lets what is too old drop out.
    #[inline]
    pub(crate) fn advance(&mut self, now: Tick) {
        if let Self::Time(window) = self {
            window.advance(now);
        }
    }

    /// Whether recording one more success would change nothing that a rule can see, so that it
    /// need not be recorded, or (in a time window) can be added later.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        match self {
            Self::Count(window) => {
                window.length == window.size && window.failures == 0 && window.slow_calls == 0
            }
            Self::Time(window) => window.totals.failures == 0 && window.totals.slow_calls == 0,
        }
    }

    pub(crate) fn clear(&mut self, now: Tick) {
        match self {
            Self::Count(window) => window.clear(),
            Self::Time(window) => **window = TimeWindow::empty(window.width, now),
        }
    }

    pub(crate) fn content(&self, now: Tick) -> WindowContent {
        match self {
            Self::Count(window) => WindowContent::Results(window.letters()),
            Self::Time(window) => WindowContent::Buckets(window.buckets(now)),
        }
    }

    /// Takes over what another window held. A count window does not know times, nor a time
    /// window an order, so neither can take over the other's content: it stays empty.
    pub(crate) fn adopt(&mut self, content: &WindowContent, now: Tick, downtime: Duration) {
        match (self, content) {
            (Self::Count(window), WindowContent::Results(letters)) => window.adopt(letters),
            (Self::Time(window), WindowContent::Buckets(buckets)) => {
                window.adopt(buckets, now, downtime);
            }
            _ => {}
        }
    }
}

/// The last `size` calls: two bits a call in a ring, and their sums.
#[derive(Debug)]
pub(crate) struct CountWindow {
    size: u32,
    length: u32,
    /// Where the next call goes; in a full ring, where the oldest is.
    next: u32,
    failures: u32,
    slow_calls: u32,
    ring: Box<[u64]>,
}

impl CountWindow {
    const PER_WORD: u32 = 32;
    const FAILED: u64 = 1;
    const SLOW: u64 = 2;

    fn new(size: u32) -> Self {
        Self {
            size,
            length: 0,
            next: 0,
            failures: 0,
            slow_calls: 0,
            ring: vec![0; size.div_ceil(Self::PER_WORD) as usize].into_boxed_slice(),
        }
    }

    fn record(&mut self, call: Call) {
        let shift = 2 * (self.next % Self::PER_WORD);
        let word = &mut self.ring[(self.next / Self::PER_WORD) as usize];
        // A place that was never used holds zeros: a ring that fills up needs no case of its own.
        let oldest = *word >> shift;
        self.failures -= u32::from(oldest & Self::FAILED != 0);
        self.slow_calls -= u32::from(oldest & Self::SLOW != 0);
        let bits = u64::from(call.failed) * Self::FAILED + u64::from(call.slow) * Self::SLOW;
        *word = *word & !(3 << shift) | bits << shift;
        self.failures += u32::from(call.failed);
        self.slow_calls += u32::from(call.slow);
        self.length += u32::from(self.length < self.size);
        self.next += 1;
        if self.next == self.size {
            self.next = 0;
        }
    }

    fn counts(&self) -> Counts {
        Counts {
            calls: self.length.into(),
            failures: self.failures.into(),
            slow_calls: self.slow_calls.into(),
        }
    }

    fn clear(&mut self) {
        self.ring.fill(0);
        (self.length, self.next, self.failures, self.slow_calls) = (0, 0, 0, 0);
    }

    fn letters(&self) -> String {
        let oldest = if self.length == self.size { self.next } else { 0 };
        let places = (oldest..self.length).chain(0..oldest);
        places
            .map(|place| {
                let word = self.ring[(place / Self::PER_WORD) as usize];
                match word >> (2 * (place % Self::PER_WORD)) & 3 {
                    0 => '.',
                    Self::FAILED => 'f',
                    Self::SLOW => 's',
                    _ => 'b',
                }
            })
            .collect()
    }

    /// Of more calls than it has places for, the last ones stay.
    fn adopt(&mut self, letters: &str) {
        self.clear();
        for letter in letters.bytes() {
            self.record(Call {
                failed: matches!(letter, b'f' | b'b'),
                slow: matches!(letter, b's' | b'b'),
            });
        }
    }
}

/// The calls of the last so long, in a ring of buckets: memory and work do not grow with
/// traffic. A call drops out with its bucket: when it is as old as the window is long, or up to
/// one bucket earlier.
#[derive(Debug)]
pub(crate) struct TimeWindow {
    /// The length of a bucket, in nanoseconds.
    width: u64,
    /// When the newest bucket ends.
    end: Tick,
    /// Where the newest bucket is; the oldest follows it in the ring.
    newest: usize,
    totals: Counts,
    ring: Box<[Bucket]>,
}

/// Smaller than [`Counts`]: more than four thousand million calls in a fortieth of a window
/// count as that many.
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

    /// Adds what there is room for, and returns that.
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

    fn new(time: Duration, now: Tick) -> Self {
        Self::empty((nanos(time) / Self::BUCKETS as u64).max(1), now)
    }

    fn empty(width: u64, now: Tick) -> Self {
        Self {
            width,
            end: now.after(Duration::from_nanos(width)),
            newest: 0,
            totals: Counts::default(),
            ring: vec![Bucket::default(); Self::BUCKETS].into_boxed_slice(),
        }
    }

    /// When the newest bucket ends.
    pub(crate) fn end(&self) -> Tick {
        self.end
    }

    pub(crate) fn add(&mut self, counts: Counts, now: Tick) {
        self.advance(now);
        self.totals.add(self.ring[self.newest].add(counts));
    }

    fn advance(&mut self, now: Tick) {
        if now < self.end {
            return;
        }
        let steps = nanos(now.since(self.end)) / self.width + 1;
        self.end = self.end.after(Duration::from_nanos(steps.saturating_mul(self.width)));
        let turns = usize::try_from(steps).unwrap_or(usize::MAX).min(Self::BUCKETS);
        for _ in 0..turns {
            self.newest = (self.newest + 1) % Self::BUCKETS;
            let dropped = std::mem::take(&mut self.ring[self.newest]);
            self.totals.subtract(dropped.counts());
        }
    }

    /// The buckets with their ages, the newest first. The newest is there even if it is empty:
    /// it says where the others' borders lie.
    fn buckets(&self, now: Tick) -> Vec<BucketSnapshot> {
        let start = self.end.before(Duration::from_nanos(self.width));
        let mut buckets = Vec::new();
        for back in 0..Self::BUCKETS {
            let bucket = self.ring[(self.newest + Self::BUCKETS - back) % Self::BUCKETS];
            if back == 0 || bucket.calls > 0 {
                let began = start.before(Duration::from_nanos(back as u64 * self.width));
                let Counts { calls, failures, slow_calls } = bucket.counts();
                let age = now.since(began).as_secs_f64();
                buckets.push(BucketSnapshot::new(age, calls, failures, slow_calls));
            }
        }
        buckets
    }

    /// Puts each bucket where its age says. Between windows of the same length the borders stay
    /// where they were, so that a restart changes nothing.
    fn adopt(&mut self, buckets: &[BucketSnapshot], now: Tick, downtime: Duration) {
        let began = |bucket: &BucketSnapshot| {
            let age = Duration::try_from_secs_f64(bucket.age).ok()?;
            Some(now.before(age.saturating_add(downtime)))
        };
        let Some(newest) = buckets.first().and_then(began) else {
            return;
        };
        *self = Self::empty(self.width, newest);
        for bucket in buckets {
            // Half a bucket absorbs what the float's rounding shifts.
            let Some(began) = began(bucket) else { continue };
            let age = nanos(newest.since(began)).saturating_add(self.width / 2) / self.width;
            let Some(back) = usize::try_from(age).ok().filter(|back| *back < Self::BUCKETS) else {
                continue;
            };
            let counts = Counts {
                calls: bucket.calls,
                failures: bucket.failures.min(bucket.calls),
                slow_calls: bucket.slow_calls.min(bucket.calls),
            };
            let place = (self.newest + Self::BUCKETS - back) % Self::BUCKETS;
            self.totals.add(self.ring[place].add(counts));
        }
        self.advance(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: Call = Call { failed: false, slow: false };
    const FAILED: Call = Call { failed: true, slow: false };

    fn at(seconds: f64) -> Tick {
        Tick::new(Duration::from_secs_f64(seconds))
    }

    fn counts(calls: u64, failures: u64) -> Counts {
        Counts { calls, failures, slow_calls: 0 }
    }

    #[test]
    fn a_count_window_holds_the_last_calls_whatever_came_before() {
        let mut window = CountWindow::new(33);
        for _ in 0..1000 {
            window.record(OK);
        }
        assert_eq!(window.counts(), counts(33, 0));
        for _ in 0..20 {
            window.record(FAILED);
        }
        assert_eq!(window.counts(), counts(33, 20));
        for _ in 0..33 {
            window.record(OK);
        }
        assert_eq!(window.counts(), counts(33, 0));
    }

    #[test]
    fn a_count_window_keeps_its_order_in_letters_and_the_last_when_it_shrinks() {
        let mut window = CountWindow::new(4);
        for failed in [true, false, true, true, false, true] {
            window.record(Call { failed, slow: !failed });
        }
        assert_eq!(window.letters(), "ffsf");
        let mut smaller = CountWindow::new(2);
        smaller.adopt(&window.letters());
        assert_eq!(smaller.letters(), "sf");
    }

    #[test]
    fn a_time_window_drops_a_call_at_its_age_or_up_to_a_bucket_earlier() {
        let mut window = TimeWindow::new(Duration::from_secs(10), at(0.0));
        window.add(Counts::of(FAILED), at(0.1));
        window.advance(at(9.7));
        assert_eq!(window.totals, counts(1, 1));
        window.advance(at(10.1));
        assert_eq!(window.totals, counts(0, 0));
    }

    #[test]
    fn a_time_window_survives_a_pause_of_any_length() {
        let mut window = TimeWindow::new(Duration::from_secs(10), at(0.0));
        window.add(Counts::of(FAILED), at(0.0));
        window.advance(Tick::from_nanos(u64::MAX - 1));
        assert_eq!(window.totals, Counts::default());
        let _ = window.buckets(Tick::NEVER);
    }

    #[test]
    fn a_time_window_comes_back_with_the_same_borders() {
        let mut window = TimeWindow::new(Duration::from_secs(10), at(0.0));
        for step in 0..30 {
            window.add(Counts::of(FAILED), at(f64::from(step) * 0.3));
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
}
