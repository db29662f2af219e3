//! The ring of calls that a count window and its copies have in common: two bits a call.

use super::counts::Sample;

/// The calls in a word of the ring.
pub(super) const PER_WORD: u32 = 32;
pub(super) const FAILED: u64 = 1;
pub(super) const SLOW: u64 = 2;

/// How far a count window has come. That of a new copy is one of no window.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct WindowPosition {
    pub(super) window: u32,
    pub(super) recorded: u64,
}

impl WindowPosition {
    /// How many calls a window has recorded since, if it is this window and they are not too many
    /// to count.
    pub(super) fn calls_until(self, window: u32, recorded: u64) -> Option<u32> {
        let calls = u32::try_from(recorded.checked_sub(self.recorded)?).ok()?;
        (self.window == window).then_some(calls)
    }
}

/// The calls of a window or of a copy of one.
pub(super) struct Calls<'a> {
    pub(super) words: &'a [u64],
    pub(super) size: u32,
    /// Where the next call would go.
    pub(super) next: u32,
}

impl Calls<'_> {
    /// The places of the newest calls, in order.
    pub(super) fn places_of_newest(&self, calls: u32) -> impl Iterator<Item = u32> + use<> {
        let at_the_end = calls.saturating_sub(self.next);
        (self.size - at_the_end..self.size).chain(self.next - (calls - at_the_end)..self.next)
    }

    pub(super) fn sample(&self, place: u32) -> Sample {
        let word = self.words[(place / PER_WORD) as usize];
        let bits = word >> (2 * (place % PER_WORD));
        Sample { failed: bits & FAILED != 0, slow: bits & SLOW != 0 }
    }
}

/// The result of the call at this place, which is in this word.
pub(super) fn symbol(word: u64, place: u32) -> char {
    match word >> (2 * (place % PER_WORD)) & 3 {
        0 => '.',
        FAILED => 'f',
        SLOW => 's',
        _ => 'b',
    }
}
