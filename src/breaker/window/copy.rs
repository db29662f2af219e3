//! Copies of count windows, to be encoded without the breaker's lock.
//!
//! To encode a window of a million calls takes milliseconds, and to copy it takes microseconds. A
//! copy that is kept needs only the calls since it was made. A large copy is made in rounds, which
//! catch up with the window: between them, others get the lock.

use super::{
    count::CountWindow,
    ring::{Calls, PER_WORD, places, words},
    rounds,
    run_lengths::Runs,
    work,
};
use crate::snapshot::{WindowContent, WindowPosition, WindowSnapshot};

/// A copy with more words than this gets its memory without the lock, and is worth keeping.
const LARGE: usize = 256;

/// Copies of the count windows of one breaker, in the order of its rules.
pub(crate) struct WindowCopies {
    copies: Vec<WindowCopy>,
    /// How many words of large windows may be copied at a time.
    words: usize,
}

/// A copy of a count window. One of a time window is empty.
#[derive(Default)]
pub(crate) struct WindowCopy {
    /// The window that it is a copy of; 0 for none.
    window: u32,
    /// How many calls the window had recorded after the newest one that is copied.
    recorded: u64,
    /// How many calls are not copied yet.
    left: u32,
    /// The size of the window's ring.
    needed: usize,
    size: u32,
    length: u32,
    /// Where the next call goes.
    next: u32,
    words: Vec<u64>,
}

impl Default for WindowCopies {
    fn default() -> Self {
        Self { copies: Vec::new(), words: rounds::WORDS }
    }
}

impl WindowCopies {
    /// The copies of this many windows.
    pub(crate) fn prepare(&mut self, windows: usize) -> &mut [WindowCopy] {
        self.copies.resize_with(windows, WindowCopy::default);
        &mut self.copies
    }

    /// How many words of large windows may be copied in this round.
    pub(crate) fn words(&self) -> usize {
        self.words
    }

    /// Limits how much is copied in a round, or not.
    pub(crate) fn limit(&mut self, is_limited: bool) {
        self.words = if is_limited { rounds::WORDS } else { usize::MAX };
    }

    /// How many calls are not copied yet.
    pub(crate) fn left(&self) -> usize {
        self.copies.iter().map(|copy| copy.left as usize).sum()
    }

    /// Whether each copy has every call.
    pub(crate) fn are_complete(&self) -> bool {
        self.copies.iter().all(|copy| copy.left == 0)
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
    /// Copies what the window has recorded since the last time, oldest calls first, in at most
    /// this many words. Without enough memory, only notes how much it needs.
    pub(super) fn update(&mut self, window: &CountWindow, limit: &mut usize) {
        let Calls { words: ring, size, next } = window.calls();
        self.needed = ring.len();
        if self.words.len() < ring.len() {
            if ring.len() > LARGE {
                self.left = size;
                return;
            }
            self.grow();
        }
        let calls = self.calls_since(window).unwrap_or_else(|| {
            (self.window, self.length) = (window.id(), 0);
            self.recorded = window.recorded().saturating_sub(window.length().into());
            window.length()
        });
        // The calls may begin and end within a word.
        let fitting = limit.saturating_sub(2).saturating_mul(PER_WORD as usize);
        let is_small = ring.len() <= LARGE;
        let copied = if is_small { calls } else { calls.min(saturating_u32(fitting)) };
        for places in places(size, next, calls, copied) {
            let words = words(&places);
            work::add(words.len());
            *limit = limit.saturating_sub(words.len());
            self.words[words.clone()].copy_from_slice(&ring[words]);
        }
        self.left = calls - copied;
        self.recorded += u64::from(copied);
        self.length = (self.length + copied).min(window.length());
        self.size = size;
        self.next = if self.left <= next { next - self.left } else { next + (size - self.left) };
    }

    /// Holds nothing, and has nothing left to copy: a time window has taken the place of the count
    /// window. The memory stays, because the breaker's lock is held.
    pub(super) fn clear(&mut self) {
        (self.window, self.recorded, self.length, self.left) = (0, 0, 0, 0);
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
            *self = Self { needed: self.needed, left: self.left, ..Self::default() };
            // Written to: the first write to a page of fresh memory takes longer than all others.
            self.words.resize(self.needed, u64::MAX);
        }
    }

    pub(super) fn position(&self) -> WindowPosition {
        WindowPosition::new(self.window, self.recorded)
    }

    pub(super) fn length(&self) -> u32 {
        self.length
    }

    /// How many calls of the copy come after this position; `None` if it does not hold them all.
    pub(super) fn calls_after(&self, position: WindowPosition) -> Option<u32> {
        position.calls_until(self.window, self.recorded).filter(|calls| *calls <= self.length)
    }

    pub(super) fn calls(&self) -> Calls<'_> {
        Calls { words: &self.words, size: self.size, next: self.next }
    }

    /// The calls since a position, if they are few for the window.
    fn few_since(&self, from: WindowPosition) -> Option<u32> {
        let calls = from.calls_until(self.window, self.recorded);
        calls.filter(|calls| *calls <= self.length / 16)
    }

    /// The newest calls, run-length encoded.
    fn newest(&self, calls: u32) -> String {
        let mut runs = Runs::default();
        for places in self.calls().places_of_newest(calls) {
            runs.add_calls(&self.words, places);
        }
        runs.finish()
    }

    /// The calls, oldest first, run-length encoded as in a snapshot: `12.f3s` means twelve
    /// successes, a failure and three slow calls.
    pub(super) fn run_lengths(&self) -> String {
        self.newest(self.length)
    }
}

fn saturating_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(all(test, not(tower_breaker_loom)))]
mod tests {
    use std::time::Duration;

    use super::{
        super::{CallWindow, counts::Sample},
        *,
    };
    use crate::{clock::Tick, config::Window};

    fn update(copy: &mut WindowCopy, window: &CountWindow) -> String {
        copy.update(window, &mut usize::MAX.clone());
        copy.grow();
        copy.update(window, &mut usize::MAX.clone());
        copy.run_lengths()
    }

    /// An update between two rounds may put a time window in the place of a count window.
    #[test]
    fn the_copy_of_what_has_become_a_time_window_is_complete() {
        let windows = [Window::Calls(1_000_000), Window::Time(Duration::from_secs(60))]
            .map(|window| CallWindow::new(window, Tick::NEVER));
        let mut copies = WindowCopies::default();
        for (window, is_complete) in windows.iter().zip([false, true]) {
            let mut words = 64;
            window.content(Tick::NEVER, &mut copies.prepare(1)[0], &mut words);
            copies.grow();
            assert_eq!(copies.are_complete(), is_complete);
        }
        assert_eq!(copies.left(), 0);
    }

    #[test]
    fn a_copy_that_is_made_in_rounds_catches_up_with_the_window() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let size = [9_000, 20_000][random.usize(..2)];
            let mut window = CountWindow::new(size);
            let mut copy = WindowCopy::default();
            let mut record = |window: &mut CountWindow, calls: u32| {
                let bad_in = 1 + random.u32(..20);
                for _ in 0..calls {
                    let failed = random.u32(..bad_in) == 0;
                    window.record(Sample { failed, slow: random.u8(..4) == 0 });
                }
                random.u32(..size)
            };
            let mut more = size;
            for _ in 0..4 {
                more = record(&mut window, more);
                for round in 0.. {
                    let mut limit = 64;
                    copy.update(&window, &mut limit);
                    copy.grow();
                    if copy.left == 0 {
                        break;
                    }
                    assert!(round < 40, "seed {seed}");
                    record(&mut window, more % 300);
                    if round == 2 && more % 5 == 0 {
                        // More than the window holds: the copy begins anew.
                        record(&mut window, size + 7);
                    } else if round == 3 && more % 7 == 0 {
                        window.clear();
                        record(&mut window, more);
                    }
                }
                assert_eq!(copy.run_lengths(), window.run_lengths(), "seed {seed}");
            }
        }
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
            let ranges = window.calls().places_of_newest(calls);
            let ranges = ranges.iter().map(words).filter(|words| !words.is_empty());
            ranges.collect::<Vec<_>>()
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
        let mut limit = copies.words();
        copies.prepare(1)[0].update(&window, &mut limit);
        assert!(!copies.are_complete(), "not with the breaker locked");
        copies.grow();
        copies.prepare(1)[0].update(&window, &mut limit);
        assert!(copies.are_complete() && copies.are_large());
    }
}
