//! The ring of calls that a count window and its copies have in common: two bits a call.

use std::ops::Range;

/// The calls in a word of the ring.
pub(super) const PER_WORD: u32 = 32;
pub(super) const FAILED: u64 = 1;
pub(super) const SLOW: u64 = 2;

/// The calls of a window or of a copy of one.
pub(super) struct Calls<'a> {
    pub(super) words: &'a [u64],
    pub(super) size: u32,
    /// Where the next call would go.
    pub(super) next: u32,
}

impl Calls<'_> {
    /// The places of the newest calls, in order: one range or two.
    pub(super) fn places_of_newest(&self, calls: u32) -> [Range<u32>; 2] {
        places(self.size, self.next, calls, calls)
    }

    /// The results of the calls at a place and after it; of at most a word of them.
    pub(super) fn bits(&self, place: u32, calls: u32) -> u64 {
        let (index, first) = ((place / PER_WORD) as usize, place % PER_WORD);
        let mut bits = self.words[index] >> (2 * first);
        if first + calls > PER_WORD {
            bits |= self.words[index + 1] << (64 - 2 * first);
        }
        bits & mask(calls)
    }
}

/// The bits of this many calls, from 1 to a word of them.
pub(super) fn mask(calls: u32) -> u64 {
    u64::MAX >> (64 - 2 * calls)
}

/// The places in a ring of `calls` calls, the first of which is `back` before the next one.
pub(super) fn places(size: u32, next: u32, back: u32, calls: u32) -> [Range<u32>; 2] {
    let first = if back <= next { next - back } else { next + (size - back) };
    let until_the_end = calls.min(size - first);
    [first..first + until_the_end, 0..calls - until_the_end]
}

/// The words with these places.
pub(super) fn words(places: &Range<u32>) -> Range<usize> {
    if places.is_empty() {
        return 0..0;
    }
    (places.start / PER_WORD) as usize..places.end.div_ceil(PER_WORD) as usize
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
