//! What time changes in the model.

use tower_breaker::State;

use super::{Mode, Model};
use crate::model::plan::Wait;

impl Model {
    pub(crate) fn millis(&self, wait: Wait) -> u64 {
        let (time, offset) = match wait {
            Wait::Millis(millis) => (millis, 0),
            Wait::UntilSlow(offset) => {
                let limit = self.settings.rates().find_map(|rate| rate.slower_than);
                (limit.unwrap_or(1), offset)
            }
            Wait::UntilAbandoned(offset) => (self.settings.abandoned_after.unwrap_or(1), offset),
            Wait::UntilProbeTimeout(offset) => (self.settings.probe_timeout.unwrap_or(1), offset),
            Wait::UntilExpiry(offset) => (self.settings.closed_ttl, offset),
            Wait::UntilBoundary(offset) => (self.boundary().map_or(1, |at| at - self.now), offset),
        };
        time.saturating_add_signed(offset)
    }

    pub(crate) fn advance(&mut self, by: u64) {
        self.now += by;
        self.catch_up();
    }

    /// A restart during which the wall clock moves by `by`. Calls under way are gone. What is left
    /// of the open time follows the wall clock, but never exceeds what was left before.
    pub(crate) fn restart(&mut self, by: i64) {
        self.under_way.clear();
        let passed = u64::try_from(by).unwrap_or(0);
        match &mut self.mode {
            Mode::Closed { .. } if passed > self.settings.closed_ttl => self.reset(),
            Mode::Open { until, .. } => {
                // A clock that went back adds nothing to what was left.
                let left = *until - self.now;
                *until = self.now + passed + left.saturating_sub(passed);
            }
            Mode::HalfOpen { wasted, .. } => *wasted = 0,
            Mode::ByHand { until: Some(until), .. } => {
                let left = *until - self.now;
                *until = self.now + passed + left.saturating_sub(passed);
            }
            _ => {}
        }
        self.now += passed;
        self.catch_up();
        if matches!(self.mode, Mode::ByHand { state: State::MetricsOnly, .. }) {
            // What was reported before is not reported again.
            self.reported = self.evaluate_rules();
        }
    }

    /// When the oldest probe still out times out.
    fn probe_deadline(&self) -> Option<u64> {
        if !matches!(self.mode, Mode::HalfOpen { .. }) {
            return None;
        }
        let oldest = self.probes().map(|probe| probe.admitted_at).min()?;
        Some(oldest + self.settings.probe_timeout?)
    }

    /// The probe whose stream proves alive next, and when.
    fn next_alive(&self) -> Option<(u64, usize)> {
        if !matches!(self.mode, Mode::HalfOpen { .. }) {
            return None;
        }
        let streams = self.under_way.iter().filter(|(_, call)| call.generation == self.generation);
        streams.filter_map(|(slot, call)| Some((call.stream?, *slot))).min()
    }

    /// The next moment at which time alone changes something.
    fn boundary(&self) -> Option<u64> {
        match self.mode {
            Mode::Open { until, .. } | Mode::ByHand { until: Some(until), .. } => Some(until),
            Mode::HalfOpen { .. } => {
                let alive = self.next_alive().map(|(at, _)| at);
                alive.into_iter().chain(self.probe_deadline()).min()
            }
            Mode::Closed { ramp_since: Some(since), .. } => Some(since + self.settings.ramp?.time),
            Mode::Closed { .. } | Mode::ByHand { until: None, .. } => {
                let mut windows = self.windows.iter().zip(self.settings.rates());
                windows.find_map(|(window, rate)| window.next_drop(rate, self.now))
            }
        }
    }

    /// Makes every transition that time alone has caused, each at its own moment.
    pub(super) fn catch_up(&mut self) {
        loop {
            match self.mode {
                Mode::Open { until, .. } if until <= self.now => {
                    self.enter(Mode::HalfOpen { good: 0, bad: 0, wasted: 0 });
                }
                Mode::ByHand { until: Some(until), .. } if until <= self.now => self.reset(),
                _ => match (self.next_alive(), self.probe_deadline()) {
                    // At the deadline itself, a stream that proves alive is in time.
                    (Some((at, slot)), deadline)
                        if at <= self.now && deadline.is_none_or(|deadline| at <= deadline) =>
                    {
                        self.prove_alive(slot);
                    }
                    (_, Some(deadline)) if deadline <= self.now => self.open(deadline, None),
                    _ => break,
                },
            }
        }
        if let (Mode::Closed { ramp_since, .. }, Some(ramp)) = (&mut self.mode, self.settings.ramp)
        {
            *ramp_since = ramp_since.filter(|since| self.now - since < ramp.time);
        }
    }
}
