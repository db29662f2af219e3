//! What the results of calls change in the model.

use tower_breaker::State;

use super::{Call, Mode, Model};
use crate::model::{plan::Ending, settings::Rule, window::Verdict};

impl Model {
    /// Records a result. Where the resolution of a time window leaves open whether the circuit
    /// trips, `seen` is right.
    pub(crate) fn finish(&mut self, slot: usize, ending: Ending, took: Option<u64>, seen: bool) {
        let call = self.under_way.remove(&slot).expect("a call under way");
        if call.generation != self.generation {
            return;
        }
        let (failed, retry_after) = match ending {
            Ending::Success => (false, None),
            Ending::Failure(retry_after) | Ending::Throttled(retry_after) => (true, retry_after),
            Ending::Ignore => return self.waste(&call),
        };
        let took = took.unwrap_or(self.now - call.admitted_at);
        match self.mode {
            Mode::Closed { .. } => {
                self.record(ending, failed, took);
                self.open_if_tripped(retry_after, seen);
            }
            Mode::ByHand { state: State::MetricsOnly, .. } => {
                let was_met = self.would_trip && self.is_any_rule_met();
                self.record(ending, failed, took);
                self.watch_rules(was_met);
            }
            Mode::HalfOpen { ref mut good, ref mut bad, ref mut wasted } => {
                *wasted = 0;
                let is_bad = failed || self.settings.is_slow(took);
                *(if is_bad { bad } else { good }) += 1;
                self.evaluate_probes(retry_after);
            }
            Mode::ByHand { .. } | Mode::Open { .. } => {}
        }
    }

    pub(crate) fn cancel(&mut self, slot: usize) {
        let call = self.under_way.remove(&slot).expect("a call under way");
        self.waste(&call);
    }

    /// A probe ends without a result.
    fn waste(&mut self, probe: &Call) {
        let now = self.now;
        if let Mode::HalfOpen { wasted, .. } = &mut self.mode
            && probe.generation == self.generation
        {
            *wasted += now - probe.admitted_at;
            if self.settings.probe_timeout.is_some_and(|timeout| *wasted >= timeout) {
                self.open(now, None);
            }
        }
    }

    /// The permit is dropped.
    pub(crate) fn give_up(&mut self, slot: usize, seen: bool) {
        let call = &self.under_way[&slot];
        if call.generation != self.generation {
            return self.cancel(slot);
        }
        let took = self.now - call.admitted_at;
        if self.settings.abandoned_after.is_some_and(|limit| took > limit) {
            return self.finish(slot, Ending::Failure(None), None, seen);
        }
        if !self.settings.is_slow(took) {
            return self.cancel(slot);
        }
        match self.mode {
            // It is slow, and so a bad result, whatever its result would have been.
            Mode::HalfOpen { .. } => self.finish(slot, Ending::Success, None, seen),
            Mode::Closed { .. } | Mode::ByHand { state: State::MetricsOnly, .. } => {
                self.under_way.remove(&slot);
                let was_met = self.would_trip && self.is_any_rule_met();
                for (window, rate) in self.windows.iter_mut().zip(self.settings.rates()) {
                    if rate.slower_than.is_some_and(|limit| took > limit) {
                        window.record(rate, self.now, false, true);
                    }
                }
                if matches!(self.mode, Mode::Closed { .. }) {
                    self.open_if_tripped(None, seen);
                } else {
                    self.watch_rules(was_met);
                }
            }
            Mode::Open { .. } | Mode::ByHand { .. } => self.cancel(slot),
        }
    }

    pub(crate) fn panic(&mut self, slot: usize, seen: bool) {
        self.finish(slot, Ending::Failure(None), None, seen);
    }

    fn open_if_tripped(&mut self, retry_after: Option<u64>, seen: bool) {
        let verdict = self.evaluate_rules();
        if verdict == Verdict::Trip || verdict == Verdict::Either && seen {
            self.open(self.now, retry_after);
        }
    }

    pub(super) fn is_any_rule_met(&self) -> bool {
        self.evaluate_rules() == Verdict::Trip
    }

    /// After a call in a circuit that does not open.
    fn watch_rules(&mut self, was_met: bool) {
        self.would_trip = self.is_any_rule_met();
        self.would_trips += u64::from(self.would_trip && !was_met);
    }

    fn record(&mut self, ending: Ending, failed: bool, took: u64) {
        for (window, rate) in self.windows.iter_mut().zip(self.settings.rates()) {
            // A failure rule has no limit of its own: it counts what any other rule calls slow.
            let limit = rate.slower_than;
            let is_slow = limit.map_or_else(|| self.settings.is_slow(took), |limit| took > limit);
            window.record(rate, self.now, failed, is_slow);
        }
        match ending {
            Ending::Success => self.consecutive_failures = 0,
            Ending::Failure(_) => self.consecutive_failures += 1,
            Ending::Throttled(_) | Ending::Ignore => {}
        }
    }

    fn evaluate_rules(&self) -> Verdict {
        let mut windows = self.windows.iter();
        let verdicts = self.settings.rules.iter().map(|rule| match rule {
            Rule::ConsecutiveFailures(limit) if self.consecutive_failures >= *limit => {
                Verdict::Trip
            }
            Rule::ConsecutiveFailures(_) => Verdict::Hold,
            Rule::Rate(rate) => windows.next().expect("one per rule").verdict(rate, self.now),
        });
        verdicts.max().unwrap_or(Verdict::Hold)
    }

    fn evaluate_probes(&mut self, retry_after: Option<u64>) {
        let Mode::HalfOpen { good, bad, .. } = self.mode else {
            unreachable!("only while half-open")
        };
        let needed = self.settings.success_threshold;
        let opens = match self.settings.probe_failure_rate {
            None if bad > 0 => true,
            None if good >= needed => false,
            Some(rate) if good + bad >= needed => {
                rate.is_reached_by(bad.into(), (good + bad).into())
            }
            _ => return,
        };
        if opens {
            self.open(self.now, retry_after);
        } else {
            self.clear();
            let ramp_since = self.settings.ramp.map(|_| self.now);
            self.enter(Mode::Closed { ramp_since, credit: 0.0 });
        }
    }
}
