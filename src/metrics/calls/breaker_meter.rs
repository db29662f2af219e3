//! A breaker's part of its meter.
//!
//! A meter and its registration cost as much as the rest of a small breaker, and a start may build
//! a hundred thousand that have no call for long. So a breaker begins to count with its first call,
//! or when its numbers are read: a recorder is installed, or [`Breaker::metrics`] is called. Until
//! then it keeps only since when it is closed, or what few transitions it had without a call.
//!
//! [`Breaker::metrics`]: crate::Breaker::metrics

use std::sync::{Arc, atomic::Ordering::Relaxed};

use smol_str::SmolStr;

use super::{
    MeterSlot,
    meter::{self, Counted, Labels, Meter, StatsSource, Steps},
    numbers::BreakerMetrics,
    publish::{self, CountedBreaker},
};
use crate::{
    clock::Tick,
    event::{PreventedBy, Reason, Transition},
    outcome::CallEnd,
    state::State,
    sync::std_lock,
};

/// A breaker's part of its meter. Dropped with the breaker.
pub(crate) struct BreakerMeter {
    /// `None` if it is no breaker of its own.
    state: Option<State>,
    /// Whether durations are measured.
    measures: bool,
    counting: Counting,
    /// Dropped last: until then, the end is published.
    _breaker: CountedBreaker,
}

enum Counting {
    Waiting {
        began: Tick,
        /// Boxed, so that a meter is small. `None` before the first transition.
        steps: Option<Box<Steps>>,
    },
    Begun {
        meter: Arc<Meter>,
        id: u64,
    },
}

impl BreakerMeter {
    /// Waits for the first call of a breaker in this state, if it is one of its own.
    pub(crate) fn new(
        breaker: CountedBreaker,
        state: Option<State>,
        measures: bool,
        began: Tick,
    ) -> Self {
        Self {
            state,
            measures,
            counting: Counting::Waiting { began, steps: None },
            _breaker: breaker,
        }
    }

    /// Measures durations from now on, or no more. Returns where calls are counted now.
    pub(crate) fn set_measures(&mut self, measures: bool) -> MeterSlot {
        self.measures = measures;
        match &self.counting {
            Counting::Begun { meter, .. } => slot_of(meter, measures),
            Counting::Waiting { .. } => MeterSlot::WAITING,
        }
    }

    /// Begins to count, if it has not begun. Without a group, the breaker is counted by its name.
    /// The source knows its rates, and lives as long.
    pub(crate) fn begin(
        &mut self,
        name: &SmolStr,
        group: Option<&Counted>,
        source: &Arc<dyn StatsSource>,
    ) -> MeterSlot {
        let (meter, id) = match &mut self.counting {
            Counting::Begun { meter, .. } => return slot_of(meter, self.measures),
            Counting::Waiting { began, steps } => {
                let labels = match group {
                    None => Labels::named(name.clone()),
                    Some(Counted::Breaker(labels)) => labels.clone(),
                    #[cfg(feature = "keyed")]
                    Some(Counted::Calls(labels)) => labels.clone(),
                };
                // A breaker that has left its group is in no state.
                let source = self.state.map(|_| source);
                let (meter, id) = meter::begin(labels, source);
                meter.is_of_group.fetch_or(group.is_some(), Relaxed);
                let steps = steps.take().map(|steps| *steps);
                let steps = steps.unwrap_or_else(|| Steps::since(*began, self.state));
                std_lock(&meter.steps).add(steps);
                (meter, id)
            }
        };
        let slot = slot_of(&meter, self.measures);
        self.counting = Counting::Begun { meter, id };
        slot
    }

    /// Reads what was counted so far, later.
    pub(crate) fn reader(&self) -> Option<impl FnOnce() -> BreakerMetrics + use<>> {
        let Counting::Begun { meter, .. } = &self.counting else { return None };
        let meter = Arc::clone(meter);
        Some(move || meter.read())
    }

    /// The breaker began with its state because that was restored, and was closed before.
    pub(crate) fn count_restored(&mut self) {
        if let Some(state) = self.state {
            self.with_steps(self.state, |steps| {
                steps.count_transition(State::Closed, state, Reason::Restored);
            });
        }
    }

    pub(crate) fn record_transitions(&mut self, transitions: &[Transition]) {
        let Some(last) = transitions.last() else { return };
        let before = self.state;
        let now = before.map(|_| last.to);
        self.state = now;
        self.with_steps(before, |steps| {
            for transition in transitions {
                steps.count_transition(transition.from, transition.to, transition.reason);
            }
            steps.go(before, now);
        });
    }

    /// Counts what few calls have: that it was slow, how a probe ended, and how many probes were
    /// still out then.
    pub(crate) fn count(&mut self, slow: bool, probe: Option<CallEnd>, unfinished_probes: u32) {
        self.with_steps(self.state, |steps| {
            steps.slow_calls += u64::from(slow);
            if let Some(end) = probe {
                steps.probes.count(end, slow);
            }
            steps.probes.unfinished += u64::from(unfinished_probes);
        });
    }

    /// Counts probes that succeeded, in time or slow, because their streams had proved alive.
    pub(crate) fn count_streams(&mut self, in_time: u32, slow: u32) {
        if (in_time, slow) != (0, 0) {
            self.with_steps(self.state, |steps| {
                steps.slow_calls += u64::from(slow);
                steps.probes.success += u64::from(in_time);
                steps.probes.slow += u64::from(slow);
            });
        }
    }

    /// Counts that a rule would have opened the circuit, and what has prevented it.
    pub(crate) fn count_prevented(&mut self, by: Option<PreventedBy>) {
        if let Some(by) = by {
            self.with_steps(self.state, |steps| steps.prevented.count(by));
        }
    }

    /// The breaker has left its group: it is in no state of the group any more, and its windows do
    /// not count for the group's ratios. What it still does is counted.
    #[cfg(feature = "keyed")]
    pub(crate) fn leave_group(&mut self) {
        let state = self.state.take();
        self.with_steps(state, |steps| steps.go(state, None));
        if let Counting::Begun { meter, id } = &self.counting {
            meter.stop_asking(*id);
        }
    }

    /// Changes the steps, which begin with this state if these are the first.
    fn with_steps(&mut self, state: Option<State>, work: impl FnOnce(&mut Steps)) {
        match &mut self.counting {
            Counting::Begun { meter, .. } => work(&mut std_lock(&meter.steps)),
            Counting::Waiting { began, steps, .. } => {
                let new = || Box::new(Steps::since(*began, state));
                work(steps.get_or_insert_with(new));
            }
        }
    }
}

fn slot_of(meter: &Meter, measures: bool) -> MeterSlot {
    if measures {
        meter.measures.store(true, Relaxed);
    }
    MeterSlot::new(meter.slot, measures)
}

impl Drop for BreakerMeter {
    fn drop(&mut self) {
        if let Counting::Begun { meter, id } = &self.counting {
            std_lock(&meter.steps).go(self.state, None);
            if meter.remove(*id) {
                publish::end(meter);
            }
        }
    }
}
