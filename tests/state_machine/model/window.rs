//! A window, modelled as the list of every result recorded into it.

use super::settings::{Rate, Span};

/// The counts that a window reports.
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

#[derive(Debug, Clone, Default)]
pub(crate) struct Window {
    records: Vec<Record>,
}

/// Whether a rule trips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Hold,
    /// Both are right, within the resolution of a time window.
    Either,
    Trip,
}

impl Window {
    pub(crate) fn record(&mut self, rate: &Rate, at: u64, failed: bool, slow: bool) {
        self.records.push(Record { at, failed, slow });
        self.shrink(rate);
    }

    /// Drops the oldest results that a count window has no room for.
    pub(crate) fn shrink(&mut self, rate: &Rate) {
        if let Span::Calls(room) = rate.span {
            let surplus = self.records.len().saturating_sub(usize::try_from(room).unwrap());
            self.records.drain(..surplus);
        }
    }

    /// All counts that are right now. For a count window there is only one. A time window must
    /// have dropped results as old as its time, and may have dropped those of nine tenths of it.
    pub(crate) fn possible(&self, rate: &Rate, now: u64) -> Vec<Counts> {
        let (first, last) = match rate.span {
            Span::Calls(_) => (0, 0),
            Span::Time(time) => (
                self.count_old(|record| now - record.at >= time),
                self.count_old(|record| (now - record.at) * 10 >= time * 9),
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

    /// When a time window drops its next result, at the latest.
    pub(crate) fn next_drop(&self, rate: &Rate, now: u64) -> Option<u64> {
        let Span::Time(time) = rate.span else { return None };
        self.records.iter().map(|record| record.at + time).find(|at| *at > now)
    }

    /// Records are in the order of their times.
    fn count_old(&self, is_old: impl Fn(&Record) -> bool) -> usize {
        self.records.iter().filter(|record| is_old(record)).count()
    }
}

fn count(records: &[Record]) -> Counts {
    let of = |is: fn(&Record) -> bool| records.iter().filter(|record| is(record)).count() as u64;
    Counts { calls: of(|_| true), failed: of(|r| r.failed), slow: of(|r| r.slow) }
}

fn trips(rate: &Rate, counts: Counts) -> bool {
    let minimum = match rate.span {
        Span::Calls(room) => rate.minimum_calls.min(room),
        Span::Time(_) => rate.minimum_calls,
    };
    let bad = if rate.slower_than.is_some() { counts.slow } else { counts.failed };
    counts.calls >= minimum && rate.threshold.is_reached_by(bad, counts.calls)
}
