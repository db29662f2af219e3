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
    #[inline]
    pub(super) fn holds_through(&self, bad: bool) -> bool {
        let Counts { calls, failures, slow_calls } = self.window.counts();
        let before = match self.measure {
            Measure::Failures => failures,
            Measure::SlowCalls(_) => slow_calls,
        };
        let bad = before + u64::from(bad);
        if self.window.is_full() {
            return bad == 0 || bad < self.limit_when_full.into();
        }
        self.holds_while_filling(bad, calls)
    }

    /// Whether this many bad ones among this many calls, or one more, hold.
    fn holds_while_filling(&self, bad: u64, calls: u64) -> bool {
        let calls = (calls + 1).max(self.minimum_calls.into());
        let calls = self.window.size().map_or(calls, |size| calls.min(size.into()));
        bad == 0 || !self.meets(bad, calls)
    }

    /// How many failures, up to `most`, cannot trip the rule, whatever good calls are recorded
    /// before, between and after them.
    ///
    /// The rate is highest when the failures come without a good call between them.
    pub(super) fn failure_allowance(&self, most: u32) -> u32 {
        let Counts { calls, failures, .. } = self.window.counts();
        if let Measure::SlowCalls(_) = self.measure {
            // They are not slow, so they are good ones.
            return if self.holds_through(false) { most } else { 0 };
        }
        if self.window.size().is_some_and(|size| calls == u64::from(size)) {
            let left = u64::from(self.limit_when_full).saturating_sub(failures + 1);
            return u32::try_from(left).map_or(most, |left| left.min(most));
        }
        if self.holds_through_failures(most.into()) {
            return most;
        }
        let (mut allowed, mut too_many) = (0, most);
        while allowed + 1 < too_many {
            let middle = allowed.midpoint(too_many);
            if self.holds_through_failures(middle.into()) {
                allowed = middle;
            } else {
                too_many = middle;
            }
        }
        allowed
    }

    fn holds_through_failures(&self, more: u64) -> bool {
        let Counts { calls, failures, .. } = self.window.counts();
        let calls = (calls + more).max(self.minimum_calls.into());
        let calls = self.window.size().map_or(calls, |size| calls.min(size.into()));
        !self.meets(failures + more, calls)
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
    use crate::breaker::window::Sample;

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

    fn record(rule: &mut RateRule, failed: bool) -> Option<Trigger> {
        rule.window.record(Sample { failed, slow: false }, Tick::from_nanos(1));
        rule.evaluate()
    }

    /// Some rule, with some calls in its window: the same for the same seed.
    fn rule(seed: u64) -> RateRule {
        let mut random = fastrand::Rng::with_seed(seed);
        let size = random.u32(1..30);
        let window = match random.u8(..4) {
            0 => Window::Time(Duration::from_secs(60)),
            _ => Window::calls(size),
        };
        let threshold = f64::from(random.u32(1..=100)) / 100.0;
        let trip = Trip::failure_rate(threshold, window).minimum_calls(random.u32(1..30));
        let mut rule = RateRule::new(&trip, Tick::from_nanos(0)).unwrap();
        let one_in = random.u32(1..20);
        for _ in 0..random.u32(..60) {
            record(&mut rule, random.u32(..one_in) == 0);
        }
        rule
    }

    #[test]
    fn allowed_failures_trip_no_rule_whatever_successes_come_between_them() {
        let (mut some, mut exact) = (0, 0);
        for seed in 0..3000 {
            let allowance = rule(seed).failure_allowance(10);
            some += u32::from(allowance > 0);
            let mut random = fastrand::Rng::with_seed(seed + 1_000_000);
            for round in 0..10 {
                let mut rule = rule(seed);
                let most = [0, 3, 40][round % 3];
                for _ in 0..allowance {
                    for _ in 0..random.u32(..=most) {
                        let tripped = record(&mut rule, false).filter(|_| allowance > 0);
                        assert_eq!(tripped, None, "seed {seed}, {rule:?}");
                    }
                    assert_eq!(record(&mut rule, true), None, "seed {seed}, {rule:?}");
                }
                for _ in 0..40 {
                    let tripped = record(&mut rule, false).filter(|_| allowance > 0);
                    assert_eq!(tripped, None, "seed {seed}, {rule:?}");
                }
            }
            let mut rule = rule(seed);
            let is_full = rule
                .window
                .size()
                .is_some_and(|size| rule.window.counts().calls == u64::from(size));
            if is_full && allowance > 0 && allowance < 10 {
                // Nor is it less than it could be, unless the first failures push others out.
                let failures = rule.window.counts().failures;
                (0..allowance).for_each(|_| assert_eq!(record(&mut rule, true), None));
                if rule.window.counts().failures == failures + u64::from(allowance) {
                    exact += u32::from(record(&mut rule, true).is_some());
                }
            }
        }
        assert!(some > 500 && exact > 100, "{some} with an allowance, {exact} exact");
    }
}
