//! A rule on the share of failed or of slow calls in a window.

use std::time::Duration;

use super::Trigger;
use crate::{
    breaker::window::{CallWindow, Counts},
    clock::Tick,
    config::{Trip, Window},
    event::Reason,
};

/// A rule on the share of failed or of slow calls.
#[derive(Debug)]
pub(super) struct RateRule {
    pub(super) measure: Measure,
    threshold: f64,
    minimum_calls: u32,
    /// How many failed or slow calls meet the threshold in a full count window.
    limit_when_full: u32,
    pub(super) window: CallWindow,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Measure {
    Failures,
    /// Calls that took longer than this.
    SlowCalls(Duration),
}

impl RateRule {
    pub(super) fn new(trip: &Trip, now: Tick) -> Option<Self> {
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
            Window::Calls(size) => minimum_calls.min(size),
            Window::Time(_) => minimum_calls,
        };
        let limit_when_full = match window {
            Window::Calls(size) => lowest_count_that_meets(threshold, size),
            Window::Time(_) => 0,
        };
        let window = CallWindow::new(window, now);
        Some(Self { measure, threshold, minimum_calls, limit_when_full, window })
    }

    /// The rule's name in snapshots.
    pub(super) fn name(&self) -> &'static str {
        match self.measure {
            Measure::Failures => "failure_rate",
            Measure::SlowCalls(_) => "slow_call_rate",
        }
    }

    /// Whether the next call cannot trip the rule, whatever number of good calls comes before it,
    /// and no good call after it can: if it is a good one itself, or if it is `bad`.
    ///
    /// The first call that the rule is asked about makes the rate that decides: it completes the
    /// minimum number of calls, or is one more than there are. Each further good one lowers the
    /// rate.
    pub(super) fn holds_through(&self, bad: bool) -> bool {
        let Counts { calls, failures, slow_calls } = self.window.counts();
        let before = match self.measure {
            Measure::Failures => failures,
            Measure::SlowCalls(_) => slow_calls,
        };
        let bad = before + u64::from(bad);
        let calls = (calls + 1).max(self.minimum_calls.into());
        let calls = self.window.size().map_or(calls, |size| calls.min(size.into()));
        bad == 0 || !self.meets(bad, calls)
    }

    /// Whether `bad` of these calls reach the threshold.
    fn meets(&self, bad: u64, calls: u64) -> bool {
        // The same answer without a division, which costs more than all else here.
        if self.window.size().is_some_and(|size| calls == u64::from(size)) {
            return bad >= self.limit_when_full.into();
        }
        meets(self.threshold, bad, calls)
    }

    pub(super) fn evaluate(&self) -> Option<Trigger> {
        let Counts { calls, failures, slow_calls } = self.window.counts();
        let (reason, failure_count) = match self.measure {
            Measure::Failures => (Reason::FailureRate, failures),
            Measure::SlowCalls(_) => (Reason::SlowCallRate, slow_calls),
        };
        let trips = failure_count > 0
            && calls >= self.minimum_calls.into()
            && self.meets(failure_count, calls);
        trips.then_some(Trigger { reason, failure_count })
    }
}

/// Whether `bad` of these calls reach the threshold.
fn meets(threshold: f64, bad: u64, calls: u64) -> bool {
    // A quotient, because 0.29 * 100 is above 29: 29 failures of 100 must reach 0.29.
    bad as f64 / calls as f64 >= threshold
}

/// The lowest number of bad ones of these calls that reaches the threshold.
fn lowest_count_that_meets(threshold: f64, calls: u32) -> u32 {
    let (mut below, mut meeting) = (0, calls);
    while below < meeting {
        let middle = below + (meeting - below) / 2;
        if meets(threshold, middle.into(), calls.into()) {
            meeting = middle;
        } else {
            below = middle + 1;
        }
    }
    meeting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_a_full_window_is_the_first_count_whose_quotient_reaches_the_threshold() {
        for size in [1, 3, 7, 20, 99, 100, 101, 1000, 4095] {
            for percent in 1..=100_u32 {
                let threshold = f64::from(percent) / 100.0;
                let limit = lowest_count_that_meets(threshold, size);
                for bad in limit.saturating_sub(2)..=(limit + 2).min(size) {
                    let expected = meets(threshold, bad.into(), size.into());
                    assert_eq!(bad >= limit, expected, "{bad} of {size} at {threshold}");
                }
            }
        }
        assert_eq!(lowest_count_that_meets(0.29, 100), 29);
        assert_eq!(lowest_count_that_meets(1.0, 1_000_000), 1_000_000);
    }
}
