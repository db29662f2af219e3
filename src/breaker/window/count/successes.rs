//! Many successes at once: they are counted without the breaker's lock, and recorded by its next
//! holder.

use super::{CountWindow, FAILURES};
use crate::breaker::window::{
    counts::Sample,
    ring::{PER_WORD, mask},
    work,
};

/// How many words are looked at together. Among a million calls, most hold successes only.
const BLOCK: u32 = 64;
const BLOCK_PLACES: u32 = BLOCK * PER_WORD;

impl CountWindow {
    /// Records successes.
    #[inline]
    pub(in crate::breaker::window) fn record_successes(&mut self, calls: u64) {
        let room = (PER_WORD - self.next % PER_WORD).min(self.size - self.next);
        match u32::try_from(calls) {
            Ok(calls) if calls < room => self.record_few_successes(calls),
            _ => self.record_many_successes(calls),
        }
    }

    /// Records successes that end before the end of a word and of the ring.
    #[inline]
    fn record_few_successes(&mut self, calls: u32) {
        let places = !(u64::MAX << (2 * calls)) << (2 * (self.next % PER_WORD));
        self.forget_in_word((self.next / PER_WORD) as usize, places);
        self.length = self.size.min(self.length + calls);
        self.recorded += u64::from(calls);
        self.next += calls;
    }

    /// Records successes, a word of the ring at a time.
    #[inline(never)]
    fn record_many_successes(&mut self, calls: u64) {
        let calls = u32::try_from(calls).unwrap_or(u32::MAX).min(self.size);
        let until_the_end = calls.min(self.size - self.next);
        if self.failures > 0 || self.slow_calls > 0 {
            if calls == self.size {
                self.forget_all();
            } else {
                self.forget(self.next, until_the_end);
                self.forget(0, calls - until_the_end);
            }
        }
        self.recorded += u64::from(calls);
        self.length = self.length.saturating_add(calls).min(self.size);
        self.next = if calls > until_the_end || self.next + calls == self.size {
            calls - until_the_end
        } else {
            self.next + calls
        };
    }

    /// Records failures, each after this many successes. What the last of them displace is not even
    /// recorded: each could take a walk around the ring.
    pub(in crate::breaker::window) fn record_failures(&mut self, successes: &[u32]) {
        let (mut first, mut calls) = (successes.len(), 0_u32);
        while first > 0 && calls < self.size {
            first -= 1;
            calls = calls.saturating_add(successes[first]).saturating_add(1);
        }
        let mut displaced = calls.saturating_sub(self.size);
        for successes in &successes[first..] {
            let successes = successes.saturating_sub(std::mem::take(&mut displaced));
            self.record_successes(successes.into());
            self.record(Sample::FAILURE);
        }
    }

    /// Makes these places hold successes.
    #[inline]
    pub(super) fn forget(&mut self, from: u32, places: u32) {
        if places < 2 * BLOCK_PLACES {
            self.forget_by_word(from, places);
        } else {
            self.forget_by_block(from, places);
        }
    }

    #[inline(never)]
    fn forget_by_block(&mut self, from: u32, places: u32) {
        let until_a_block = from.next_multiple_of(PER_WORD) - from;
        self.forget_by_word(from, until_a_block);
        let (mut place, end) = (from + until_a_block, from + places);
        while end - place >= BLOCK_PLACES && (self.failures > 0 || self.slow_calls > 0) {
            self.forget_block((place / PER_WORD) as usize);
            place += BLOCK_PLACES;
        }
        if self.failures > 0 || self.slow_calls > 0 {
            self.forget_by_word(place, end - place);
        }
    }

    #[inline]
    fn forget_by_word(&mut self, from: u32, places: u32) {
        let (mut place, end) = (from, from + places);
        while place < end {
            work::add(1);
            let first = place % PER_WORD;
            let here = (PER_WORD - first).min(end - place);
            self.forget_in_word((place / PER_WORD) as usize, mask(here) << (2 * first));
            place += here;
        }
    }

    /// Makes all places of some words hold successes.
    fn forget_block(&mut self, index: usize) {
        work::add(BLOCK as usize);
        let words = &mut self.ring[index..index + BLOCK as usize];
        if is_any_bit_set(words) {
            let count =
                |bits: u64| words.iter().map(|word| (word & bits).count_ones()).sum::<u32>();
            self.failures -= count(FAILURES);
            self.slow_calls -= count(!FAILURES);
            words.fill(0);
        }
    }

    /// Makes all places hold successes.
    fn forget_all(&mut self) {
        work::add(self.ring.len());
        for words in self.ring.chunks_mut(BLOCK as usize) {
            if is_any_bit_set(words) {
                words.fill(0);
            }
        }
        (self.failures, self.slow_calls) = (0, 0);
    }

    /// Makes these places of a word hold successes.
    #[inline]
    fn forget_in_word(&mut self, index: usize, places: u64) {
        let word = &mut self.ring[index];
        let old = *word & places;
        if old != 0 {
            *word &= !places;
            self.failures -= (old & FAILURES).count_ones();
            if self.slow_calls > 0 {
                self.slow_calls -= (old & !FAILURES).count_ones();
            }
        }
    }
}

// Without a branch for each word, they are read as fast as they come from memory.
fn is_any_bit_set(words: &[u64]) -> bool {
    words.iter().fold(0, |bits, word| bits | word) != 0
}

#[cfg(all(test, not(tower_breaker_loom)))]
mod tests {
    use super::*;
    use crate::breaker::counter::MOST_PENDING;

    const SUCCESS: Sample = Sample { failed: false, slow: false };

    const SIZES: [u32; 9] = [1, 31, 32, 33, 64, 100, 1000, 4096, 5000];

    /// Two windows of each size, after the same calls, and as random numbers go on.
    fn pairs(check: impl Fn(&mut [CountWindow; 2], &mut fastrand::Rng)) {
        for (seed, size) in (0..).zip(SIZES) {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut windows = [(); 2].map(|()| CountWindow::new(size));
            for _ in 0..200 {
                let sample = Sample { failed: random.bool(), slow: random.bool() };
                // Now and then, they fill a good part of the ring.
                let calls = if random.u8(..4) == 0 { random.u32(..size) } else { 1 };
                for window in &mut windows {
                    (0..calls).for_each(|_| window.record(sample));
                }
                check(&mut windows, &mut random);
                let [one, other] = &windows;
                assert_eq!(one.counts(), other.counts(), "size {size}");
                assert_eq!(one.run_lengths(), other.run_lengths(), "size {size}");
            }
        }
    }

    #[test]
    fn successes_recorded_together_are_those_recorded_one_by_one() {
        pairs(|[together, one_by_one], random| {
            let calls = random.u32(..one_by_one.size() * 5 / 4 + 2);
            together.record_successes(calls.into());
            (0..calls).for_each(|_| one_by_one.record(SUCCESS));
        });
    }

    #[test]
    fn failures_recorded_together_are_those_recorded_one_by_one() {
        pairs(|[together, one_by_one], random| {
            let most = [1, 10, one_by_one.size() / 3 + 1, one_by_one.size() * 5 / 4 + 2];
            let most = most[random.usize(..4)];
            let successes: Vec<u32> = (0..random.u8(..=10)).map(|_| random.u32(..most)).collect();
            together.record_failures(&successes);
            for successes in successes {
                (0..successes).for_each(|_| one_by_one.record(SUCCESS));
                one_by_one.record(Sample::FAILURE);
            }
        });
    }

    /// With the breaker's lock, and the words are read as fast as they come from memory.
    #[test]
    fn recording_what_was_counted_goes_around_the_ring_at_most_once() {
        const SIZE: u32 = 1_000_000;
        let ring = (SIZE / PER_WORD) as usize;
        let mut window = CountWindow::new(SIZE);
        window.record_successes(SIZE.into());
        let failures = [&[SIZE; 10][..], &[SIZE / 10 - 1; 10], &[0, SIZE, 3, 7], &[0; 10]];
        for successes in failures {
            let ((), words) = work::of(|| window.record_failures(successes));
            assert!(words <= ring + 64, "{words} words for {successes:?}");
        }
        for successes in [SIZE - 1, 1, SIZE] {
            let ((), words) = work::of(|| window.record_successes(successes.into()));
            assert!(words <= ring + 64, "{words} words for {successes}");
        }
        let ((), words) = work::of(|| window.record_successes(SIZE.into()));
        assert_eq!(words, 0, "there is nothing to forget");
    }

    /// `cargo test --release --lib measure_what_was_counted -- --ignored --nocapture`, on an idle
    /// machine.
    #[test]
    #[ignore = "a measurement"]
    fn measure_what_was_counted_for_a_window_of_a_million_calls_with_a_cold_cache() {
        const SIZE: u32 = 1_000_000;
        const MOST: u32 = MOST_PENDING;
        let mut buffer = vec![1_u8; 64 << 20];
        let mut window = CountWindow::new(SIZE);
        for (what, failing) in [("one in a million", SIZE), ("one in ten", 10), ("half", 2)] {
            // What the counters hold at most, and the log of failures.
            for successes in [&[MOST][..], &[MOST - 1], &[MOST / 10; 10], &[MOST - 1, MOST]] {
                let mut took: Vec<_> = (0..101)
                    .map(|_| {
                        (0..SIZE).for_each(|call| {
                            window.record(Sample { failed: call % failing == 0, slow: false });
                        });
                        buffer.iter_mut().step_by(64).for_each(|byte| *byte ^= 1);
                        std::hint::black_box(&mut buffer);
                        let began = std::time::Instant::now();
                        match successes {
                            [successes] => window.record_successes(u64::from(*successes)),
                            noted => window.record_failures(noted),
                        }
                        began.elapsed()
                    })
                    .collect();
                took.sort_unstable();
                let number: u32 = successes.iter().sum();
                println!(
                    "{what}: {number} successes in {} parts: median {:?}, 99% {:?}",
                    successes.len(),
                    took[50],
                    took[99],
                );
            }
        }
    }
}
