//! Rounds in which a copy catches up with windows that go on recording.

/// How many words of large rings are copied in a round, with the breaker's lock: 131,072 calls in
/// 32 KiB, which takes a few microseconds even if none of it is in the processor's cache.
pub(crate) const WORDS: usize = 4096;

/// After this many rounds that have left no less than the best one before, calls are recorded
/// faster than they can be copied. What is left then is copied in one go.
const MOST_IN_VAIN: u32 = 16;

#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// The least that any round has left.
    least: Option<usize>,
    in_vain: u32,
}

impl Rounds {
    /// Notes what a round has left. Returns whether another one is worth it.
    pub(crate) fn note(&mut self, left: usize) -> bool {
        if self.least.is_none_or(|least| left < least) {
            self.least = Some(left);
        } else {
            self.in_vain += 1;
        }
        self.in_vain < MOST_IN_VAIN
    }
}
