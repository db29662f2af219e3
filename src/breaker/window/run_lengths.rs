//! The calls of a count window as text: runs of equal calls, each a number and a symbol.

use std::ops::Range;

use super::ring::{PER_WORD, symbol};

/// Collects runs of equal calls.
pub(super) struct Runs {
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
    /// Adds the calls at these places of a ring with these words.
    pub(super) fn add_calls(&mut self, ring: &[u64], places: Range<u32>) {
        let (mut place, end) = (places.start, places.end);
        while place < end {
            let word = ring[(place / PER_WORD) as usize];
            let is_whole = place.is_multiple_of(PER_WORD) && end - place >= PER_WORD;
            if word == 0 && is_whole {
                self.add('.', PER_WORD);
                place += PER_WORD;
            } else {
                self.add(symbol(word, place), 1);
                place += 1;
            }
        }
    }

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

    pub(super) fn finish(mut self) -> String {
        self.end_run();
        self.encoded
    }
}

/// Decodes runs of equal calls. Text that no window wrote is decoded on a best-effort basis.
pub(super) fn decode(run_lengths: &str) -> impl Iterator<Item = (u64, u8)> + '_ {
    let mut number = None;
    run_lengths.bytes().filter_map(move |byte| {
        if byte.is_ascii_digit() {
            let digit = u64::from(byte - b'0');
            number = Some(number.unwrap_or(0_u64).saturating_mul(10).saturating_add(digit));
            return None;
        }
        Some((number.take().unwrap_or(1), byte))
    })
}
