//! What the results of calls change in the model.

use tower_breaker::State;

use super::{Call, Mode, Model, OVER, Seen};
use crate::model::{plan::Ending, settings::Rule, window::Verdict};

impl Model {
    /// Records a result.
    pub(crate) fn finish(&mut self, slot: usize, ending: Ending, took: Option<u64>, seen: Seen) {
        let call = self.under_way.remove(&slot).expect("a call under way");
        if call.generation != self.generation {
            return;
        }
        let (ending, took) = match (call.stream, ending) {
            (None, ending) => (ending, took),
            (Some(_), Ending::Success) => (Ending::Success, None),
            (Some(_), _) => (Ending::Failure(None), None),
        };
        let (failed, retry_after) = match ending {
            Ending::Success => (false, None),
            Ending::Failure(retry_after) | Ending::Throttled(retry_after) => (true, retry_after),
            Ending::Ignore => return self.waste(&call),
        };
        let took = took.unwrap_or(self.now - call.admitted_at);
        match self.mode {
            Mode::Closed { .. } | Mode::ByHand { state: State::MetricsOnly, .. } => {
                let before = self.evaluate_rules();
                self.record(ending, failed, took);
                self.follow_rules(before, retry_after, seen);
            }
            Mode::HalfOpen { .. } => self.finish_probe(failed, took, retry_after),
            Mode::ByHand { .. } | Mode::Open { .. } => {}
        }
    }

    fn finish_probe(&mut self, failed: bool, took: u64, retry_after: Option<u64>) {
        let Mode::HalfOpen { good, bad, wasted } = &mut self.mode else {
            unreachable!("only while half-open")
        };
        *wasted = 0;
        let is_bad = failed || self.settings.is_slow(took);
        *(if is_bad { bad } else { good }) += 1;
        self.evaluate_probes(retry_after);
    }

    /// The stream of a probe proves alive: its result, before its end.
    pub(super) fn prove_alive(&mut self, slot: usize) {
        let call = self.under_way.get_mut(&slot).expect("a call under way");
        let at = call.stream.expect("a stream");
        call.generation = OVER;
        let took = at - call.admitted_at;
        let now = std::mem::replace(&mut self.now, at);
        self.finish_probe(false, took, None);
        self.now = now;
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
    pub(crate) fn give_up(&mut self, slot: usize, seen: Seen) {
        let call = &self.under_way[&slot];
        // A body that is dropped says nothing.
        if call.generation != self.generation || call.stream.is_some() {
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
                let before = self.evaluate_rules();
                for (window, rate) in self.windows.iter_mut().zip(self.settings.rates()) {
                    if rate.slower_than.is_some_and(|limit| took > limit) {
                        window.record(rate, self.now, false, true);
                    }
                }
                self.follow_rules(before, None, seen);
            }
            Mode::Open { .. } | Mode::ByHand { .. } => self.cancel(slot),
        }
    }

    pub(crate) fn panic(&mut self, slot: usize, seen: Seen) {
        self.finish(slot, Ending::Failure(None), None, seen);
    }

    /// Opens the circuit after a call that was recorded, or reports that it would have opened.
    fn follow_rules(&mut self, before: Verdict, retry_after: Option<u64>, seen: Seen) {
        let verdict = self.evaluate_rules();
        if !matches!(self.mode, Mode::Closed { .. }) {
            self.report(before, verdict, seen.would_have);
        } else if verdict == Verdict::Trip || verdict == Verdict::Either && seen.opened {
            self.open(self.now, retry_after);
        }
    }

    /// Once each time that a rule is met which was not, `before` the call either.
    fn report(&mut self, before: Verdict, verdict: Verdict, seen: bool) {
        let reported = self.reported.min(before);
        let is_new = match (reported, verdict) {
            (_, Verdict::Hold) | (Verdict::Trip, _) => false,
            (Verdict::Hold, Verdict::Trip) => true,
            _ => seen,
        };
        self.would_trips += u64::from(is_new);
        self.reported = match (reported, verdict) {
            _ if is_new => Verdict::Trip,
            // It would have been reported.
            (Verdict::Hold, Verdict::Either) => Verdict::Hold,
            _ => verdict,
        };
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

    pub(super) fn evaluate_rules(&self) -> Verdict {
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
