//! The rules that open a circuit, over one row of calls.

use std::time::Duration;

use super::window::{Call, Counts, Window};
use crate::{
    Config, Outcome, Reason, Trip,
    clock::Tick,
    snapshot::{WindowContent, WindowSnapshot},
};

/// Every rule of a breaker with what it has seen.
#[derive(Debug)]
pub(crate) struct Rules {
    /// The smallest limit on consecutive failures, if there is one.
    row_limit: Option<u32>,
    /// Failures with no success between them. Counted also without a limit: people ask for it.
    row: u32,
    /// The shortest time of any slow-call rule.
    slow_after: Option<Duration>,
    rates: Box<[Rate]>,
    /// No rule asks when a call ended or how long it took.
    timeless: bool,
}

/// A rule on the share of failed or of slow calls.
#[derive(Debug)]
struct Rate {
    measure: Measure,
    threshold: f64,
    minimum_calls: u32,
    window: Window,
}

#[derive(Debug, Clone, Copy)]
enum Measure {
    Failures,
    /// Calls that took longer than this.
    SlowCalls(Duration),
}

impl Rate {
    fn new(trip: &Trip, now: Tick) -> Option<Self> {
        let (measure, threshold, window, minimum_calls) = match *trip {
            Trip::ConsecutiveFailures(_) => return None,
            Trip::FailureRate { threshold, window, minimum_calls } => {
                (Measure::Failures, threshold, window, minimum_calls)
            }
            Trip::SlowCallRate { threshold, slower_than, window, minimum_calls } => {
                (Measure::SlowCalls(slower_than), threshold, window, minimum_calls)
            }
        };
        let minimum_calls = match window {
            crate::Window::Calls(size) => minimum_calls.min(size),
            crate::Window::Time(_) => minimum_calls,
        };
        Some(Self { measure, threshold, minimum_calls, window: Window::new(window, now) })
    }

    fn rule(&self) -> &'static str {
        match self.measure {
            Measure::Failures => "failure_rate",
            Measure::SlowCalls(_) => "slow_call_rate",
        }
    }

    /// Why the rule opens the circuit, if it does, and at how many failed or slow calls.
    fn ask(&self) -> Option<(Reason, u64)> {
        let Counts { calls, failures, slow_calls } = self.window.counts();
        let (reason, count) = match self.measure {
            Measure::Failures => (Reason::FailureRate, failures),
            Measure::SlowCalls(_) => (Reason::SlowCallRate, slow_calls),
        };
        // A quotient, as the threshold was meant: 29 of 100 is at 0.29, which 0.29 * 100 misses.
        let trips = count > 0
            && calls >= self.minimum_calls.into()
            && count as f64 / calls as f64 >= self.threshold;
        trips.then_some((reason, count))
    }
}

impl Rules {
    pub(crate) fn new(config: &Config, now: Tick) -> Self {
        let limits = config.trip_on.iter().filter_map(|trip| match trip {
            Trip::ConsecutiveFailures(limit) => Some(*limit),
            _ => None,
        });
        let slow = config.trip_on.iter().filter_map(|trip| match trip {
            Trip::SlowCallRate { slower_than, .. } => Some(*slower_than),
            _ => None,
        });
        let slow_after = slow.min();
        let rates: Box<[Rate]> =
            config.trip_on.iter().filter_map(|trip| Rate::new(trip, now)).collect();
        let timeless = slow_after.is_none()
            && rates.iter().all(|rate| matches!(rate.window, Window::Count(_)));
        Self { row_limit: limits.min(), row: 0, slow_after, rates, timeless }
    }

    /// Whether no rule asks when a call ended or how long it took.
    pub(crate) fn are_timeless(&self) -> bool {
        self.timeless
    }

    /// A call that took longer than this is slow to at least one rule.
    pub(crate) fn slow_after(&self) -> Option<Duration> {
        self.slow_after
    }

    pub(crate) fn is_slow(&self, elapsed: Option<Duration>) -> bool {
        matches!((self.slow_after, elapsed), (Some(limit), Some(elapsed)) if elapsed > limit)
    }

    /// Puts a call into every window, then asks every rule.
    pub(crate) fn record(
        &mut self,
        outcome: Outcome,
        elapsed: Option<Duration>,
        now: Tick,
    ) -> Option<(Reason, u64)> {
        let failed = match outcome {
            Outcome::Success => {
                self.row = 0;
                false
            }
            Outcome::Failure { .. } => {
                self.row = self.row.saturating_add(1);
                true
            }
            Outcome::Throttled { .. } => true,
            Outcome::Ignore => return None,
        };
        let slow_to_any = self.is_slow(elapsed);
        for rate in &mut self.rates {
            let slow = match rate.measure {
                Measure::Failures => slow_to_any,
                Measure::SlowCalls(limit) => elapsed.is_some_and(|elapsed| elapsed > limit),
            };
            rate.window.record(Call { failed, slow }, now);
        }
        self.ask()
    }

    /// Why the circuit is to open, if any rule says so, and at how many failed or slow calls.
    pub(crate) fn ask(&self) -> Option<(Reason, u64)> {
        if self.row_limit.is_some_and(|limit| self.row >= limit) {
            return Some((Reason::ConsecutiveFailures, self.row.into()));
        }
        self.rates.iter().find_map(Rate::ask)
    }

    /// Adds successes that were counted apart, to the time windows: only they ask for them.
    pub(crate) fn add_successes(&mut self, calls: u64, now: Tick) {
        for rate in &mut self.rates {
            if let Window::Time(window) = &mut rate.window {
                let counts = Counts { calls, ..Counts::default() };
                window.add(counts, now);
            }
        }
    }

    pub(crate) fn advance(&mut self, now: Tick) {
        for rate in &mut self.rates {
            rate.window.advance(now);
        }
    }

    /// Whether a quick success changes nothing, or only the totals of time windows.
    pub(crate) fn is_quiet(&self) -> bool {
        self.row == 0 && self.rates.iter().all(|rate| rate.window.is_quiet())
    }

    /// When the first bucket of any time window ends; `None` without a time window.
    pub(crate) fn bucket_end(&self) -> Option<Tick> {
        let ends = self.rates.iter().filter_map(|rate| match &rate.window {
            Window::Time(window) => Some(window.end()),
            Window::Count(_) => None,
        });
        ends.min()
    }

    pub(crate) fn clear(&mut self, now: Tick) {
        self.row = 0;
        for rate in &mut self.rates {
            rate.window.clear(now);
        }
    }

    pub(crate) fn row(&self) -> u32 {
        self.row
    }

    pub(crate) fn set_consecutive_failures(&mut self, row: u32) {
        self.row = row;
    }

    /// The first rate rule's window; `None` without a rate rule.
    pub(crate) fn counts(&self) -> Option<Counts> {
        self.rates.first().map(|rate| rate.window.counts())
    }

    pub(crate) fn windows(&self, now: Tick) -> Vec<WindowSnapshot> {
        let window = |rate: &Rate| {
            let Counts { calls, failures, slow_calls } = rate.window.counts();
            WindowSnapshot {
                rule: rate.rule().to_owned(),
                calls,
                failures,
                slow_calls,
                content: rate.window.content(now),
            }
        };
        self.rates.iter().map(window).collect()
    }

    /// Each rule takes over the first window that fits it and that no rule before it took. So
    /// an unchanged configuration finds every window again, and a changed one what it can.
    pub(crate) fn adopt(&mut self, saved: &[WindowSnapshot], now: Tick, downtime: Duration) {
        let mut left: Vec<&WindowSnapshot> = saved.iter().collect();
        for rate in &mut self.rates {
            let fits = |saved: &&WindowSnapshot| {
                let same_kind = matches!(
                    (&rate.window, &saved.content),
                    (Window::Count(_), WindowContent::Results(_))
                        | (Window::Time(_), WindowContent::Buckets(_))
                );
                same_kind && saved.rule == rate.rule()
            };
            if let Some(index) = left.iter().position(fits) {
                rate.window.adopt(&left.remove(index).content, now, downtime);
            }
        }
    }
}
