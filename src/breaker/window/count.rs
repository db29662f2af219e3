//! A window over the last N calls.

mod successes;

use std::sync::atomic::{AtomicU32, Ordering};

use super::{
    counts::{Counts, Sample},
    ring::{Calls, FAILED, PER_WORD, SLOW, mask, words},
    run_lengths, work,
};
use crate::snapshot::WindowPosition;

/// The bits of a word that say which calls have failed.
const FAILURES: u64 = u64::MAX / 3;

/// The last `size` calls: two bits a call in a ring, and their totals.
#[derive(Debug)]
pub(crate) struct CountWindow {
    size: u32,
    length: u32,
    /// Where the next call goes; in a full ring, where the oldest is.
    next: u32,
    failures: u32,
    slow_calls: u32,
    id: u32,
    recorded: u64,
    ring: Box<[u64]>,
}

/// An id recurs after four billion windows; a copy that is as old and of the same size would be
/// taken for one of the new window.
fn new_id() -> u32 {
    static LAST: AtomicU32 = AtomicU32::new(0);
    LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
}

impl CountWindow {
    pub(super) fn new(size: u32) -> Self {
        Self {
            size,
            length: 0,
            next: 0,
            failures: 0,
            slow_calls: 0,
            id: new_id(),
            recorded: 0,
            ring: vec![0; size.div_ceil(PER_WORD) as usize].into_boxed_slice(),
        }
    }

    pub(super) fn record(&mut self, sample: Sample) {
        let shift = 2 * (self.next % PER_WORD);
        let word = &mut self.ring[(self.next / PER_WORD) as usize];
        // An unused place holds zeros, so a ring that is filling up needs no case of its own.
        let oldest = *word >> shift;
        self.failures -= u32::from(oldest & FAILED != 0);
        self.slow_calls -= u32::from(oldest & SLOW != 0);
        let bits = u64::from(sample.failed) * FAILED + u64::from(sample.slow) * SLOW;
        *word = *word & !(3 << shift) | bits << shift;
        self.failures += u32::from(sample.failed);
        self.slow_calls += u32::from(sample.slow);
        self.length += u32::from(self.length < self.size);
        self.recorded += 1;
        self.next += 1;
        if self.next == self.size {
            self.next = 0;
        }
    }

    /// Records equal calls, a word of the ring at a time.
    fn record_run(&mut self, sample: Sample, calls: u32) {
        let bits = u64::from(sample.failed) * FAILED + u64::from(sample.slow) * SLOW;
        let mut left = calls;
        while left > 0 {
            let room = (PER_WORD - self.next % PER_WORD).min(self.size - self.next);
            let here = room.min(left);
            self.record_word((FAILURES * bits) & mask(here), here);
            left -= here;
        }
    }

    /// Records calls that end in one word of the ring.
    fn record_word(&mut self, bits: u64, calls: u32) {
        work::add(1);
        let shift = 2 * (self.next % PER_WORD);
        let mask = mask(calls) << shift;
        let word = &mut self.ring[(self.next / PER_WORD) as usize];
        self.failures -= (*word & mask & FAILURES).count_ones();
        self.slow_calls -= (*word & mask & !FAILURES).count_ones();
        *word = *word & !mask | bits << shift;
        self.failures += (bits & FAILURES).count_ones();
        self.slow_calls += (bits & !FAILURES).count_ones();
        self.length = (self.length + calls).min(self.size);
        self.recorded += u64::from(calls);
        self.next += calls;
        if self.next == self.size {
            self.next = 0;
        }
    }

    pub(super) fn size(&self) -> u32 {
        self.size
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            calls: self.length.into(),
            failures: self.failures.into(),
            slow_calls: self.slow_calls.into(),
        }
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.length == self.size
    }

    /// Whether one more success would leave the window as it is.
    #[inline]
    pub(super) fn is_full_of_successes(&self) -> bool {
        self.is_full() && self.failures == 0 && self.slow_calls == 0
    }

    pub(super) fn clear(&mut self) {
        // Unused places hold zeros, and writing to memory that is still untouched takes longer.
        for places in self.calls().places_of_newest(self.length) {
            let words = words(&places);
            work::add(words.len());
            self.ring[words].fill(0);
        }
        (self.length, self.next, self.failures, self.slow_calls) = (0, 0, 0, 0);
        self.id = new_id();
    }

    /// Identifies what the window holds since it was last empty: no other window has this id.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// The calls that were recorded, those that are no longer in the window included.
    pub(super) fn recorded(&self) -> u64 {
        self.recorded
    }

    pub(super) fn length(&self) -> u32 {
        self.length
    }

    /// The place of the oldest call.
    pub(super) fn oldest(&self) -> u32 {
        if self.next < self.length {
            self.next + self.size - self.length
        } else {
            self.next - self.length
        }
    }

    pub(super) fn calls(&self) -> Calls<'_> {
        Calls { words: &self.ring, size: self.size, next: self.next }
    }

    /// How many calls it has recorded since it was at this position; `None` if it never was.
    pub(super) fn calls_after(&self, position: WindowPosition) -> Option<u32> {
        position.calls_until(self.id, self.recorded)
    }

    /// Records the newest calls of another window once more.
    pub(super) fn record_newest_of(&mut self, other: &Calls<'_>, calls: u32) {
        let displaced = calls.saturating_sub(self.size);
        self.recorded += u64::from(displaced);
        for places in other.places_of_newest(calls - displaced) {
            let mut place = places.start;
            while place < places.end {
                let room = (PER_WORD - self.next % PER_WORD).min(self.size - self.next);
                let here = room.min(places.end - place);
                self.record_word(other.bits(place, here), here);
                place += here;
            }
        }
    }

    /// Drops all calls but this many.
    pub(super) fn keep_newest(&mut self, calls: u32) {
        let surplus = self.length.saturating_sub(calls);
        let oldest = self.oldest();
        let until_the_end = surplus.min(self.size - oldest);
        self.forget(oldest, until_the_end);
        self.forget(0, surplus - until_the_end);
        self.length -= surplus;
    }

    /// Takes over the calls of another window; if there are more than fit, the newest ones.
    pub(super) fn adopt(&mut self, text: &str) {
        self.clear();
        let size = u64::from(self.size);
        // A run as long as the window displaces everything before it.
        let runs = || run_lengths::decode(text).map(|(length, symbol)| (length.min(size), symbol));
        let calls = runs().fold(0, |calls: u64, (length, _)| calls.saturating_add(length));
        let mut surplus = calls.saturating_sub(size);
        for (length, symbol) in runs() {
            let dropped = length.min(surplus);
            surplus -= dropped;
            let sample = Sample {
                failed: matches!(symbol, b'f' | b'b'),
                slow: matches!(symbol, b's' | b'b'),
            };
            self.record_run(sample, u32::try_from(length - dropped).unwrap_or(self.size));
        }
    }

    /// Takes over calls that came before those in this window, which stay.
    pub(super) fn prepend(&mut self, run_lengths: &str) {
        let own = std::mem::replace(self, Self::new(self.size));
        self.adopt(run_lengths);
        self.record_newest_of(&own.calls(), own.length);
    }
}

#[cfg(all(test, not(tower_breaker_loom)))]
mod tests {
    use super::{super::copy::WindowCopy, *};

    impl CountWindow {
        pub(in super::super) fn run_lengths(&self) -> String {
            let mut copy = WindowCopy::default();
            copy.update(self, &mut usize::MAX.clone());
            copy.grow();
            copy.update(self, &mut usize::MAX.clone());
            copy.run_lengths()
        }
    }

    const SUCCESS: Sample = Sample { failed: false, slow: false };
    const FAILURE: Sample = Sample { failed: true, slow: false };

    fn counts(calls: u64, failures: u64) -> Counts {
        Counts { calls, failures, slow_calls: 0 }
    }

    #[test]
    fn a_count_window_holds_the_last_calls_whatever_came_before() {
        let mut window = CountWindow::new(33);
        for _ in 0..1000 {
            window.record(SUCCESS);
        }
        assert_eq!(window.counts(), counts(33, 0));
        for _ in 0..20 {
            window.record(FAILURE);
        }
        assert_eq!(window.counts(), counts(33, 20));
        for _ in 0..33 {
            window.record(SUCCESS);
        }
        assert_eq!(window.counts(), counts(33, 0));
    }

    #[test]
    fn run_lengths_keep_the_order_and_a_smaller_window_takes_the_newest_calls() {
        let mut window = CountWindow::new(4);
        for failed in [true, false, true, true, false, true] {
            window.record(Sample { failed, slow: !failed });
        }
        assert_eq!(window.run_lengths(), "ffsf");
        let mut smaller = CountWindow::new(2);
        smaller.adopt(&window.run_lengths());
        assert_eq!(smaller.run_lengths(), "sf");
    }

    #[test]
    fn calls_of_another_window_come_before_those_that_were_recorded() {
        for (recorded, expected) in [(0, "f.s"), (1, "f.sf"), (3, "f.sf.f"), (7, "f.f.f.f")] {
            let mut window = CountWindow::new(7);
            for number in 0..recorded {
                window.record(Sample { failed: number % 2 == 0, slow: false });
            }
            window.prepend("f.s");
            assert_eq!(window.run_lengths(), expected, "{recorded} recorded");
        }
        let mut wrapped = CountWindow::new(4);
        for failed in [true, true, true, false, true] {
            wrapped.record(Sample { failed, slow: false });
        }
        wrapped.prepend("4s");
        assert_eq!(wrapped.run_lengths(), "ff.f");
    }

    #[test]
    fn a_long_run_takes_a_few_characters() {
        let mut window = CountWindow::new(100_000);
        for number in 0..120_000 {
            let failed = (60_000..60_003).contains(&number) || number == 119_999;
            window.record(Sample { failed, slow: number >= 119_998 });
        }
        assert_eq!(window.run_lengths(), "40000.3f59995.sb");
        let mut other = CountWindow::new(100_000);
        let run_lengths = window.run_lengths();
        let ((), words) = work::of(|| other.adopt(&run_lengths));
        assert!(words < 100_000 / 32 + 10, "{words} words with the breaker's lock");
        assert_eq!((other.counts(), other.run_lengths()), (window.counts(), window.run_lengths()));
        // Releases without run lengths wrote one symbol a call.
        let mut older = CountWindow::new(8);
        older.adopt("....ffs.b");
        assert_eq!(older.run_lengths(), "3.ffs.b");
    }

    #[test]
    fn numbers_that_no_window_wrote_are_decoded_quickly() {
        let mut window = CountWindow::new(1000);
        window.adopt(&"99999999999999999999999.7f0s".repeat(10_000));
        assert_eq!(window.counts(), counts(1000, 7));
        window.adopt("12");
        assert_eq!(window.counts(), counts(0, 0));
    }
}
