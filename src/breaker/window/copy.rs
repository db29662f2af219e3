//! Copies of count windows, to be encoded without the breaker's lock.
//!
//! To encode a window of a million calls takes milliseconds, and to copy it takes microseconds. A
//! copy that is kept needs only the calls since it was made.

use super::{
    count::CountWindow,
    ring::{Calls, PER_WORD, WindowPosition, symbol},
};
use crate::snapshot::{WindowContent, WindowSnapshot};

/// A copy with more words than this gets its memory without the lock, and is worth keeping.
const LARGE: usize = 256;

/// Copies of the count windows of one breaker, in the order of its rules.
#[derive(Default)]
pub(crate) struct WindowCopies {
    copies: Vec<WindowCopy>,
}

/// A copy of a count window. One of a time window is empty.
#[derive(Default)]
pub(crate) struct WindowCopy {
    /// The window that it is a copy of; 0 for none.
    window: u32,
    /// How many calls the window had recorded.
    recorded: u64,
    /// The size of the window's ring.
    needed: usize,
    size: u32,
    length: u32,
    oldest: u32,
    words: Vec<u64>,
}

impl WindowCopies {
    /// The copies of this many windows.
    pub(crate) fn prepare(&mut self, windows: usize) -> &mut [WindowCopy] {
        self.copies.resize_with(windows, WindowCopy::default);
        &mut self.copies
    }

    /// Whether each copy has the memory that it needs.
    pub(crate) fn are_large_enough(&self) -> bool {
        self.copies.iter().all(WindowCopy::is_large_enough)
    }

    /// Gives each copy the memory that it needs.
    pub(crate) fn grow(&mut self) {
        for copy in &mut self.copies {
            copy.grow();
        }
    }

    /// Whether the copies are worth their memory.
    pub(crate) fn are_large(&self) -> bool {
        self.copies.iter().any(|copy| copy.words.len() > LARGE)
    }

    /// How far each window has come.
    pub(crate) fn positions(&self) -> Vec<WindowPosition> {
        self.copies.iter().map(WindowCopy::position).collect()
    }

    /// Adds the calls of count windows since these positions to a snapshot. `false` if they are
    /// not few, or if the windows are not the same any more.
    pub(crate) fn encode_since(
        &self,
        positions: &[WindowPosition],
        windows: &mut [WindowSnapshot],
    ) -> bool {
        if positions.len() != self.copies.len() {
            return false;
        }
        let since = self.copies.iter().zip(positions).map(|(copy, from)| copy.few_since(*from));
        let Some(since) = since.collect::<Option<Vec<u32>>>() else { return false };
        for ((copy, calls), window) in self.copies.iter().zip(since).zip(windows) {
            if let WindowContent::Results(results) = &mut window.content {
                *results = copy.newest(calls);
            }
        }
        true
    }

    /// Adds the calls of count windows to a snapshot.
    pub(crate) fn encode_into(&self, windows: &mut [WindowSnapshot]) {
        for (copy, window) in self.copies.iter().zip(windows) {
            if let WindowContent::Results(results) = &mut window.content {
                *results = copy.run_lengths();
            }
        }
    }
}

impl WindowCopy {
    /// Copies what the window has recorded since the last time. Without enough memory, only notes
    /// how much that is.
    pub(super) fn update(&mut self, window: &CountWindow) {
        let ring = window.ring();
        self.needed = ring.len();
        if self.words.len() < ring.len() {
            if ring.len() > LARGE {
                return;
            }
            self.grow();
        }
        match self.calls_since(window) {
            Some(calls) => window.for_words_of_newest(calls, |words| {
                self.words[words.clone()].copy_from_slice(&ring[words]);
            }),
            None => self.words[..ring.len()].copy_from_slice(ring),
        }
        (self.window, self.recorded) = (window.id(), window.recorded());
        (self.size, self.length, self.oldest) = (window.size(), window.length(), window.oldest());
    }

    /// The calls since the last time, if it was this window and still holds some of them.
    fn calls_since(&self, window: &CountWindow) -> Option<u32> {
        window.calls_after(self.position()).filter(|calls| *calls < window.size())
    }

    pub(super) fn is_large_enough(&self) -> bool {
        self.words.len() >= self.needed
    }

    pub(super) fn grow(&mut self) {
        if self.words.len() < self.needed {
            *self = Self { needed: self.needed, ..Self::default() };
            // Written to: the first write to a page of fresh memory takes longer than all others.
            self.words.resize(self.needed, u64::MAX);
        }
    }

    pub(super) fn position(&self) -> WindowPosition {
        WindowPosition { window: self.window, recorded: self.recorded }
    }

    pub(super) fn length(&self) -> u32 {
        self.length
    }

    /// How many calls of the copy come after this position; `None` if it does not hold them all.
    pub(super) fn calls_after(&self, position: WindowPosition) -> Option<u32> {
        position.calls_until(self.window, self.recorded).filter(|calls| *calls <= self.length)
    }

    pub(super) fn calls(&self) -> Calls<'_> {
        Calls { words: &self.words, size: self.size, next: self.next() }
    }

    /// Where the next call goes.
    fn next(&self) -> u32 {
        let end = self.oldest + self.length;
        if end < self.size { end } else { end - self.size }
    }

    /// The calls since a position, if they are few for the window.
    fn few_since(&self, from: WindowPosition) -> Option<u32> {
        let calls = from.calls_until(self.window, self.recorded);
        calls.filter(|calls| *calls <= self.length / 16)
    }

    /// The newest calls, run-length encoded.
    fn newest(&self, calls: u32) -> String {
        let next = self.next();
        let at_the_end = calls.saturating_sub(next);
        let mut runs = Runs::default();
        self.encode(self.size - at_the_end, self.size, &mut runs);
        self.encode(next - (calls - at_the_end), next, &mut runs);
        runs.finish()
    }

    /// The calls, oldest first, run-length encoded as in a snapshot: `12.f3s` means twelve
    /// successes, a failure and three slow calls.
    pub(super) fn run_lengths(&self) -> String {
        self.newest(self.length)
    }

    /// Encodes the calls at these places.
    fn encode(&self, mut place: u32, end: u32, runs: &mut Runs) {
        while place < end {
            let word = self.words[(place / PER_WORD) as usize];
            let is_whole = place.is_multiple_of(PER_WORD) && end - place >= PER_WORD;
            if word == 0 && is_whole {
                runs.add('.', PER_WORD);
                place += PER_WORD;
            } else {
                runs.add(symbol(word, place), 1);
                place += 1;
            }
        }
    }
}

/// Collects runs of equal calls.
struct Runs {
    encoded: String,
    length: u32,
    symbol: char,
}

impl Default for Runs {
    fn default() -> Self {
        Self { encoded: String::new(), length: 0, symbol: '.' }
    }
}

impl Runs {
    fn add(&mut self, symbol: char, calls: u32) {
        if symbol != self.symbol {
            self.end_run();
            (self.length, self.symbol) = (0, symbol);
        }
        self.length += calls;
    }

    /// Appends the run, as a number and a symbol where that is shorter than the run.
    fn end_run(&mut self) {
        let Self { encoded, length, symbol } = self;
        match *length {
            0..=2 => encoded.extend(std::iter::repeat_n(*symbol, *length as usize)),
            _ => encoded.extend([length.to_string(), symbol.to_string()]),
        }
    }

    fn finish(mut self) -> String {
        self.end_run();
        self.encoded
    }
}

#[cfg(test)]
mod tests {
    use super::{super::counts::Sample, *};

    fn update(copy: &mut WindowCopy, window: &CountWindow) -> String {
        copy.update(window);
        copy.grow();
        copy.update(window);
        copy.run_lengths()
    }

    #[test]
    fn a_copy_that_is_kept_is_the_same_as_a_new_one() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let size = [1, 31, 32, 33, 100, 9_000][random.usize(..6)];
            let mut window = CountWindow::new(size);
            let mut kept = WindowCopy::default();
            for _ in 0..60 {
                match random.u8(..20) {
                    0 => window.clear(),
                    1 => window = CountWindow::new(size),
                    2 => window.adopt("3.f7s2b"),
                    3..6 => window.record_successes(random.u64(..u64::from(size) * 2 + 2)),
                    _ => {
                        let failed = random.u8(..3) == 0;
                        for _ in 0..random.u32(..size + size / 2 + 2) {
                            let slow = random.u8(..9) == 0;
                            window.record(Sample { failed: failed && random.bool(), slow });
                        }
                    }
                }
                assert_eq!(update(&mut kept, &window), window.run_lengths(), "seed {seed}");
            }
        }
    }

    #[test]
    fn the_newest_calls_continue_what_was_encoded_before() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let size = [64, 100, 9_000][random.usize(..3)];
            let mut window = CountWindow::new(size);
            let mut record = |window: &mut CountWindow, calls: u32| {
                for _ in 0..calls {
                    window.record(Sample { failed: random.bool(), slow: random.u8(..4) == 0 });
                }
            };
            let mut copy = WindowCopy::default();
            record(&mut window, size * 3 / 4 + u32::try_from(seed).unwrap() * size / 100);
            for calls in [0, 1, size / 32] {
                let mut encoded = update(&mut copy, &window);
                let position = copy.position();
                record(&mut window, calls);
                let whole = update(&mut copy, &window);
                let since = copy.few_since(position).expect("few");
                encoded += &copy.newest(since);
                let mut restored = CountWindow::new(size);
                restored.adopt(&encoded);
                assert_eq!(restored.run_lengths(), whole, "seed {seed}");
            }
            let position = copy.position();
            record(&mut window, size / 16 + 1);
            update(&mut copy, &window);
            assert_eq!(copy.few_since(position), None, "too many");
            window.clear();
            update(&mut copy, &window);
            assert_eq!(copy.few_since(position), None, "another window");
        }
    }

    #[test]
    fn a_copy_that_is_kept_copies_only_the_words_of_new_calls() {
        let mut window = CountWindow::new(1_000_000);
        let words_of = |window: &CountWindow, calls: u32| {
            let mut words = Vec::new();
            window.for_words_of_newest(calls, |range| words.push(range));
            words
        };
        let record = |window: &mut CountWindow, calls: u32| {
            for _ in 0..calls {
                window.record(Sample { failed: true, slow: false });
            }
        };
        record(&mut window, 100);
        assert!(words_of(&window, 0).is_empty());
        assert_eq!(words_of(&window, 4), vec![3..4]);
        assert_eq!(words_of(&window, 5), vec![2..4]);
        record(&mut window, 999_932);
        assert_eq!(words_of(&window, 64), [31_249..31_250, 0..1]);
        assert_eq!(words_of(&window, 32), vec![0..1]);
    }

    #[test]
    fn a_large_copy_gets_its_memory_before_it_is_made() {
        let window = CountWindow::new(100_000);
        let mut copies = WindowCopies::default();
        copies.prepare(1)[0].update(&window);
        assert!(!copies.are_large_enough(), "not with the breaker locked");
        copies.grow();
        copies.prepare(1)[0].update(&window);
        assert!(copies.are_large_enough() && copies.are_large());
    }
}
