//! A window as the list of everything that was put into it.

use super::settings::{Rate, Span};

/// What a window may say of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    pub(crate) failed: u64,
    pub(crate) slow: u64,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    at: u64,
    failed: bool,
    slow: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Window {
    records: Vec<Record>,
}

/// What a rule says to its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Hold,
    /// The resolution of a time window leaves it open.
    Either,
    Trip,
}

impl Window {
    pub(crate) fn put(&mut self, rate: &Rate, at: u64, failed: bool, slow: bool) {
        self.records.push(Record { at, failed, slow });
        self.shrink(rate);
    }

    /// Forgets what a count window has no room for.
    pub(crate) fn shrink(&mut self, rate: &Rate) {
        if let Span::Calls(room) = rate.span {
            let surplus = self.records.len().saturating_sub(usize::try_from(room).unwrap());
            self.records.drain(..surplus);
        }
    }

    /// All that the window may say now. A count window may say one thing only. A time window
    /// has dropped what is as old as its time, and may have dropped what is a tenth younger.
    pub(crate) fn possible(&self, rate: &Rate, now: u64) -> Vec<Counts> {
        let (first, last) = match rate.span {
            Span::Calls(_) => (0, 0),
            Span::Time(time) => (
                self.count_older(|record| now - record.at >= time),
                self.count_older(|record| (now - record.at) * 10 >= time * 9),
            ),
        };
        (first..=last).map(|from| count(&self.records[from..])).collect()
    }

    pub(crate) fn verdict(&self, rate: &Rate, now: u64) -> Verdict {
        let possible = self.possible(rate, now);
        let trips = possible.iter().filter(|counts| trips(rate, **counts)).count();
        match trips {
            0 => Verdict::Hold,
            all if all == possible.len() => Verdict::Trip,
            _ => Verdict::Either,
        }
    }

    /// When a time window drops the next of its calls, at the latest.
    pub(crate) fn next_to_go(&self, rate: &Rate, now: u64) -> Option<u64> {
        let Span::Time(time) = rate.span else { return None };
        self.records.iter().map(|record| record.at + time).find(|at| *at > now)
    }

    /// Records stand in the order of their times.
    fn count_older(&self, is_old: impl Fn(&Record) -> bool) -> usize {
        self.records.iter().filter(|record| is_old(record)).count()
    }
}

fn count(records: &[Record]) -> Counts {
    let of = |is: fn(&Record) -> bool| records.iter().filter(|record| is(record)).count() as u64;
    Counts { calls: of(|_| true), failed: of(|r| r.failed), slow: of(|r| r.slow) }
}

fn trips(rate: &Rate, counts: Counts) -> bool {
    let minimum = match rate.span {
        Span::Calls(room) => rate.minimum.min(room),
        Span::Time(_) => rate.minimum,
    };
    let bad = if rate.slower_than.is_some() { counts.slow } else { counts.failed };
    counts.calls >= minimum && bad * 100 >= rate.percent * counts.calls
}
