//! The rules that open a circuit.

mod decoded;
mod next;
mod rate;

use std::{num::NonZeroU32, time::Duration};

pub(super) use decoded::DecodedRules;
pub(super) use next::NextRules;
use rate::{Measure, RateRule};

use super::{
    counter::MOST_PENDING,
    success_counter::OnSuccess,
    window::{CallWindow, Counts, Sample, WindowCopies, WindowCopy},
};
use crate::{
    clock::Tick,
    config::{Config, Trip},
    event::Reason,
    outcome::Outcome,
    snapshot::{WindowContent, WindowSnapshot},
    stats::Share,
};

/// How many successes may be deferred with a time window. The next one takes the lock, which reads
/// the operating system's clock: the counter by which the others are dated may stand.
const TIMED_LIMIT: u32 = 1024;

/// What makes the circuit change its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trigger {
    pub(super) reason: Reason,
    /// The failed or slow calls that led to it; 0 where none did.
    pub(super) failure_count: u64,
}

impl From<Reason> for Trigger {
    fn from(reason: Reason) -> Self {
        Self { reason, failure_count: 0 }
    }
}

/// Every rule of a breaker, with what it has recorded.
#[derive(Debug)]
pub(super) struct Rules {
    /// The lowest limit on consecutive failures, if there is one.
    failure_limit: Option<NonZeroU32>,
    /// Failures with no success between them. Counted without a limit too, for the statistics.
    consecutive_failures: u32,
    /// The shortest time of any slow-call rule.
    slow_after: Option<Duration>,
    rates: Box<[RateRule]>,
    /// No rule depends on when a call ended or how long it took.
    untimed: bool,
    /// See [`defer_limit`](Self::defer_limit).
    defer_limit: u32,
    has_recorded: bool,
    /// How often the windows have begun anew. It wraps around, and is compared with one of a moment
    /// ago. Any larger, it would make the cell of every breaker 64 bytes larger.
    generation: u16,
}

impl Rules {
    pub(super) fn new(config: &Config, now: Tick) -> Self {
        let limits = config.trip_on.iter().filter_map(|trip| match trip {
            Trip::ConsecutiveFailures(limit) => Some(*limit),
            _ => None,
        });
        let slow = config.trip_on.iter().filter_map(|trip| match trip {
            Trip::SlowCallRate { slower_than, .. } => Some(*slower_than),
            _ => None,
        });
        let slow_after = slow.min();
        let rates: Box<[RateRule]> =
            config.trip_on.iter().filter_map(|trip| RateRule::new(trip, now)).collect();
        let untimed = slow_after.is_none() && rates.iter().all(|rate| !rate.window.is_timed());
        let sizes = rates.iter().filter_map(|rate| rate.window.size());
        let has_time_window = rates.iter().any(|rate| rate.window.is_timed());
        let defer_limit = if has_time_window {
            TIMED_LIMIT
        } else {
            sizes.max().unwrap_or_default().min(MOST_PENDING)
        };
        // A limit is at least 1.
        let failure_limit =
            limits.min().map(|limit| NonZeroU32::new(limit).unwrap_or(NonZeroU32::MIN));
        let consecutive_failures = 0;
        Self {
            failure_limit,
            consecutive_failures,
            slow_after,
            rates,
            untimed,
            defer_limit,
            has_recorded: false,
            generation: 0,
        }
    }

    /// Whether no rule depends on when a call ended or how long it took.
    pub(super) fn are_untimed(&self) -> bool {
        self.untimed
    }

    /// A call that took longer than this is slow to at least one rule.
    pub(super) fn slow_after(&self) -> Option<Duration> {
        self.slow_after
    }

    pub(super) fn is_slow(&self, elapsed: Option<Duration>) -> bool {
        matches!((self.slow_after, elapsed), (Some(limit), Some(elapsed)) if elapsed > limit)
    }

    /// Records a call in every window, then evaluates every rule.
    pub(super) fn record(
        &mut self,
        outcome: Outcome,
        elapsed: Option<Duration>,
        now: Tick,
    ) -> Option<Trigger> {
        self.has_recorded |= outcome != Outcome::Ignore;
        let failed = match outcome {
            Outcome::Success => {
                self.consecutive_failures = 0;
                false
            }
            Outcome::Failure { .. } => {
                self.consecutive_failures = self.consecutive_failures.saturating_add(1);
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
            rate.window.record(Sample { failed, slow }, now);
        }
        self.evaluate()
    }

    /// Records a call that was dropped after this time: a slow one, to the rules that call it slow
    /// and to no other. Then evaluates every rule.
    pub(super) fn record_abandoned(&mut self, elapsed: Duration, now: Tick) -> Option<Trigger> {
        self.has_recorded = true;
        for rate in &mut self.rates {
            if matches!(rate.measure, Measure::SlowCalls(limit) if elapsed > limit) {
                rate.window.record(Sample { failed: false, slow: true }, now);
            }
        }
        self.evaluate()
    }

    /// What opens the circuit, if any rule does.
    pub(super) fn evaluate(&self) -> Option<Trigger> {
        if self.failure_limit.is_some_and(|limit| self.consecutive_failures >= limit.get()) {
            let failure_count = self.consecutive_failures.into();
            return Some(Trigger { reason: Reason::ConsecutiveFailures, failure_count });
        }
        self.rates.iter().find_map(RateRule::evaluate)
    }

    /// Records successes that were counted without the lock, of which no rule has to be asked.
    pub(super) fn record_successes(&mut self, calls: u64, now: Tick) {
        self.has_recorded = true;
        self.consecutive_failures = 0;
        for rate in &mut self.rates {
            rate.window.record_successes(calls, now);
        }
    }

    pub(super) fn advance(&mut self, now: Tick) {
        for rate in &mut self.rates {
            rate.window.advance(now);
        }
    }

    /// How a success that is not slow is recorded.
    pub(super) fn on_success(&self) -> OnSuccess {
        if self.consecutive_failures == 0
            && self.rates.iter().all(|rate| rate.window.is_full_of_successes())
        {
            OnSuccess::Skip
        } else if self.defer_limit > 0 && self.hold_through(false) {
            OnSuccess::Defer
        } else {
            OnSuccess::Record
        }
    }

    /// Whether neither the next call nor any good call after it can meet a rate rule.
    fn hold_through(&self, bad: bool) -> bool {
        self.rates.iter().all(|rate| rate.holds_through(bad))
    }

    /// Whether successes can be deferred before, while and after this result is recorded.
    pub(super) fn defers_through(
        &self,
        outcome: Outcome,
        elapsed: Option<Duration>,
        now: Tick,
    ) -> bool {
        let is_good = outcome == Outcome::Success && !self.is_slow(elapsed);
        self.bucket_end().is_none_or(|end| now < end) && (is_good || self.hold_through_failure())
    }

    /// Whether a failure that comes now, after any number of good calls, can meet no rule, and nor
    /// can good calls after it.
    pub(super) fn hold_through_failure(&self) -> bool {
        self.failure_limit
            .is_none_or(|limit| self.consecutive_failures.saturating_add(1) < limit.get())
            && self.hold_through(true)
    }

    /// Records successes and then a failure of which no rule has to be asked: they
    /// [hold](Self::hold_through_failure).
    pub(super) fn record_held_failure(&mut self, successes: u64, now: Tick) {
        self.has_recorded = true;
        let before = if successes == 0 { self.consecutive_failures } else { 0 };
        self.consecutive_failures = before.saturating_add(1);
        for rate in &mut self.rates {
            if successes > 0 {
                rate.window.record_successes(successes, now);
            }
            rate.window.record(Sample::FAILURE, now);
        }
        debug_assert_eq!(self.evaluate(), None);
    }

    /// Records failures, each after this many successes, of which no rule has to be asked: their
    /// [allowance](Self::failure_allowance) says so.
    pub(super) fn record_noted_failures(&mut self, successes: &[u32], now: Tick) {
        self.has_recorded = true;
        for successes in successes {
            let before = if *successes == 0 { self.consecutive_failures } else { 0 };
            self.consecutive_failures = before.saturating_add(1);
        }
        for rate in &mut self.rates {
            rate.window.record_failures(successes, now);
        }
        debug_assert_eq!(self.evaluate(), None);
    }

    /// How many failures, up to `most`, cannot meet any rule, whatever good calls are recorded
    /// before, between and after them.
    pub(super) fn failure_allowance(&self, most: u32) -> u32 {
        let streak = self.failure_limit.map_or(most, |limit| {
            (limit.get() - 1).saturating_sub(self.consecutive_failures).min(most)
        });
        self.rates.iter().fold(streak, |most, rate| rate.failure_allowance(most))
    }

    /// After how many deferred successes the next one takes the lock: without a failure, they have
    /// filled every count window by then; or the next holder of the lock has enough to record; or
    /// there is a time window, and it is time to look at the clock.
    pub(super) fn defer_limit(&self) -> u64 {
        self.defer_limit.into()
    }

    /// When the first bucket of any time window ends; `None` without a time window.
    pub(super) fn bucket_end(&self) -> Option<Tick> {
        self.rates.iter().filter_map(|rate| rate.window.bucket_end()).min()
    }

    pub(super) fn clear(&mut self, now: Tick) {
        self.consecutive_failures = 0;
        self.generation = self.generation.wrapping_add(1);
        for rate in &mut self.rates {
            rate.window.clear(now);
        }
    }

    /// How often the windows have begun anew, and what each rate rule's has recorded since.
    #[allow(dead_code, reason = "used where breakers are shared")]
    pub(super) fn recorded(&self) -> (u64, Vec<Counts>) {
        (self.generation.into(), self.rates.iter().map(|rate| rate.window.recorded()).collect())
    }

    /// What is in the window of each rate rule.
    #[allow(dead_code, reason = "used where breakers are shared")]
    pub(super) fn window_counts(&self) -> Vec<Counts> {
        self.rates.iter().map(|rate| rate.window.counts()).collect()
    }

    pub(super) fn consecutive_failures(&self) -> u32 {
        self.consecutive_failures
    }

    pub(super) fn set_consecutive_failures(&mut self, failures: u32) {
        self.consecutive_failures = failures;
    }

    /// Whether any call was recorded, here or by the rules that these replace.
    pub(super) fn have_recorded(&self) -> bool {
        self.has_recorded
    }

    /// The counts of the first rate rule's window; `None` without a rate rule.
    pub(super) fn first_window_counts(&self) -> Option<Counts> {
        self.rates.first().map(|rate| rate.window.counts())
    }

    /// The failures in the window of the first rule on them.
    pub(super) fn failures(&self) -> Option<Share> {
        let mut rates = self.rates.iter();
        let Counts { calls, failures, .. } =
            rates.find(|rate| matches!(rate.measure, Measure::Failures))?.window.counts();
        Some(Share { part: failures, calls })
    }

    /// The slow calls in the window of the first rule on them.
    pub(super) fn slow_calls(&self) -> Option<Share> {
        let mut rates = self.rates.iter();
        let Counts { calls, slow_calls, .. } =
            rates.find(|rate| matches!(rate.measure, Measure::SlowCalls(_)))?.window.counts();
        Some(Share { part: slow_calls, calls })
    }

    /// The windows, complete but for the calls of count windows. Those are in the `copies`, if
    /// these [are complete](WindowCopies::are_complete).
    pub(super) fn windows(&self, now: Tick, copies: &mut WindowCopies) -> Vec<WindowSnapshot> {
        let mut words = copies.words();
        let window = |(rate, copy): (&RateRule, &mut WindowCopy)| {
            let Counts { calls, failures, slow_calls } = rate.window.counts();
            WindowSnapshot {
                rule: rate.name().to_owned(),
                calls,
                failures,
                slow_calls,
                content: rate.window.content(now, copy, &mut words),
                packed: None,
            }
        };
        self.rates.iter().zip(copies.prepare(self.rates.len())).map(window).collect()
    }

    /// Restores the windows. Each rule takes over the first saved window of its kind that no
    /// earlier rule took, so an unchanged configuration gets back every window, and a changed one
    /// as many as still fit.
    ///
    /// What was [decoded](DecodedRules) without the lock need not be decoded now.
    pub(super) fn adopt(
        &mut self,
        saved: &[WindowSnapshot],
        mut decoded: Option<&mut DecodedRules>,
        now: Tick,
        downtime: Duration,
    ) {
        self.with_saved(saved, |index, window, content| {
            let decoded = decoded.as_mut().and_then(|rules| rules.window(index));
            window.adopt(content, decoded.map(|(window, _)| window), now, downtime);
        });
    }

    /// Like [`adopt`](Self::adopt), for calls that came before those that the windows hold.
    pub(super) fn prepend(
        &mut self,
        saved: &[WindowSnapshot],
        mut decoded: Option<&mut DecodedRules>,
        now: Tick,
        downtime: Duration,
    ) {
        self.with_saved(saved, |index, window, content| {
            let decoded = decoded.as_mut().and_then(|rules| rules.window(index));
            window.prepend(content, decoded, now, downtime);
        });
    }

    fn with_saved(
        &mut self,
        saved: &[WindowSnapshot],
        mut take: impl FnMut(usize, &mut CallWindow, &WindowContent),
    ) {
        let mut left: Vec<&WindowSnapshot> = saved.iter().collect();
        for (number, rate) in self.rates.iter_mut().enumerate() {
            let fits = |saved: &&WindowSnapshot| {
                saved.rule == rate.name() && rate.window.accepts(&saved.content)
            };
            if let Some(index) = left.iter().position(fits) {
                take(number, &mut rate.window, &left.remove(index).content);
            }
        }
    }
}
