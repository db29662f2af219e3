//! A window over the last so many calls.

use super::{Call, Counts};

/// The last `size` calls: two bits a call in a ring, and their sums.
#[derive(Debug)]
pub(crate) struct CountWindow {
    pub(super) size: u32,
    pub(super) length: u32,
    /// Where the next call goes; in a full ring, where the oldest is.
    next: u32,
    pub(super) failures: u32,
    pub(super) slow_calls: u32,
    ring: Box<[u64]>,
}

impl CountWindow {
    const PER_WORD: u32 = 32;
    const FAILED: u64 = 1;
    const SLOW: u64 = 2;

    pub(super) fn new(size: u32) -> Self {
        Self {
            size,
            length: 0,
            next: 0,
            failures: 0,
            slow_calls: 0,
            ring: vec![0; size.div_ceil(Self::PER_WORD) as usize].into_boxed_slice(),
        }
    }

    pub(super) fn record(&mut self, call: Call) {
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

    pub(super) fn counts(&self) -> Counts {
        Counts {
            calls: self.length.into(),
            failures: self.failures.into(),
            slow_calls: self.slow_calls.into(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.ring.fill(0);
        (self.length, self.next, self.failures, self.slow_calls) = (0, 0, 0, 0);
    }

    /// The calls, the oldest first, in the run_lengths of a snapshot: `12.f3s` for twelve good ones, a
    /// failed one and three slow ones.
    pub(super) fn run_lengths(&self) -> String {
        let oldest = if self.length == self.size { self.next } else { 0 };
        let mut run_lengths = String::new();
        let mut row = (0, '.');
        for place in (oldest..self.length).chain(0..oldest) {
            let letter = self.letter(place);
            if letter == row.1 {
                row.0 += 1;
            } else {
                push_row(&mut run_lengths, row);
                row = (1, letter);
            }
        }
        push_row(&mut run_lengths, row);
        run_lengths
    }

    fn letter(&self, place: u32) -> char {
        let word = self.ring[(place / Self::PER_WORD) as usize];
        match word >> (2 * (place % Self::PER_WORD)) & 3 {
            0 => '.',
            Self::FAILED => 'f',
            Self::SLOW => 's',
            _ => 'b',
        }
    }

    /// Of more calls than it has places for, the last ones stay.
    pub(super) fn adopt(&mut self, run_lengths: &str) {
        self.clear();
        let size = u64::from(self.size);
        // A row as long as the window leaves nothing of what was before it.
        let rows = || rows(run_lengths).map(|(row, letter)| (row.min(size), letter));
        let calls = rows().fold(0, |calls: u64, (row, _)| calls.saturating_add(row));
        let mut surplus = calls.saturating_sub(size);
        for (row, letter) in rows() {
            let dropped = row.min(surplus);
            surplus -= dropped;
            for _ in dropped..row {
                self.record(Call {
                    failed: matches!(letter, b'f' | b'b'),
                    slow: matches!(letter, b's' | b'b'),
                });
            }
        }
    }
}

/// Calls of one kind in a row: the letter, after their number where that is shorter than the row.
fn push_row(run_lengths: &mut String, (row, letter): (u32, char)) {
    match row {
        0..=2 => run_lengths.extend(std::iter::repeat_n(letter, row as usize)),
        _ => run_lengths.extend([row.to_string(), letter.to_string()]),
    }
}

/// The rows of calls of one kind. What is no row that a window writes is read as well as can be.
fn rows(run_lengths: &str) -> impl Iterator<Item = (u64, u8)> + '_ {
    let mut number = None;
    run_lengths.bytes().filter_map(move |letter| {
        if letter.is_ascii_digit() {
            let digit = u64::from(letter - b'0');
            number = Some(number.unwrap_or(0_u64).saturating_mul(10).saturating_add(digit));
            return None;
        }
        Some((number.take().unwrap_or(1), letter))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: Call = Call { failed: false, slow: false };
    const FAILED: Call = Call { failed: true, slow: false };

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
        assert_eq!(window.run_lengths(), "ffsf");
        let mut smaller = CountWindow::new(2);
        smaller.adopt(&window.run_lengths());
        assert_eq!(smaller.run_lengths(), "sf");
    }

    #[test]
    fn a_row_of_calls_takes_a_few_letters() {
        let mut window = CountWindow::new(100_000);
        for number in 0..120_000 {
            let failed = (60_000..60_003).contains(&number) || number == 119_999;
            window.record(Call { failed, slow: number >= 119_998 });
        }
        assert_eq!(window.run_lengths(), "40000.3f59995.sb");
        let mut other = CountWindow::new(100_000);
        other.adopt(&window.run_lengths());
        assert_eq!((other.counts(), other.run_lengths()), (window.counts(), window.run_lengths()));
        // A release that knew no numbers wrote each call.
        let mut older = CountWindow::new(8);
        older.adopt("....ffs.b");
        assert_eq!(older.run_lengths(), "3.ffs.b");
    }

    #[test]
    fn numbers_that_no_window_wrote_are_quickly_read() {
        let mut window = CountWindow::new(1000);
        window.adopt(&"99999999999999999999999.7f0s".repeat(10_000));
        assert_eq!(window.counts(), counts(1000, 7));
        window.adopt("12");
        assert_eq!(window.counts(), counts(0, 0));
    }
}
