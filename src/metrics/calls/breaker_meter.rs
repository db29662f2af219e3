//! A breaker's part of its meter.

use std::sync::{Arc, Mutex};

use super::{
    meter::{self, Counted, Meter, StatsSource, Steps},
    numbers::{BreakerMetrics, state_index},
    publish,
};
use crate::{event::Transition, outcome::CallEnd, state::State, sync::std_lock};

/// A breaker's part of its meter. Dropped with the breaker.
pub(crate) struct BreakerMeter {
    meter: Arc<Meter>,
    id: u64,
    /// `None` if it is no breaker of its own.
    state: Mutex<Option<State>>,
}

impl BreakerMeter {
    /// Begins to count for one more breaker. It is closed.
    pub(crate) fn begin(counted: Counted) -> Self {
        let (labels, state) = match counted {
            Counted::Breaker(labels) => (labels, Some(State::Closed)),
            #[cfg(feature = "keyed")]
            Counted::Calls(labels) => (labels, None),
        };
        let (meter, id) = meter::begin(labels);
        if let Some(state) = state {
            let mut steps = std_lock(&meter.steps);
            steps.measure();
            steps.breakers[state_index(state)] += 1;
        }
        publish::start();
        Self { meter, id, state: Mutex::new(state) }
    }

    pub(crate) fn slot(&self) -> u32 {
        self.meter.slot
    }

    /// Reads what was counted so far, later.
    pub(crate) fn reader(&self) -> impl FnOnce() -> BreakerMetrics + use<> {
        let meter = Arc::clone(&self.meter);
        move || meter.read()
    }

    /// The counts of the breaker are those of this source, which lives as long as the breaker.
    pub(crate) fn ask(&self, source: &Arc<dyn StatsSource>) {
        self.meter.ask(self.id, source);
    }

    pub(crate) fn record_transitions(&self, transitions: &[Transition]) {
        let mut steps = std_lock(&self.meter.steps);
        for transition in transitions {
            steps.count_transition(transition.from, transition.to, transition.reason);
        }
        if let Some(last) = transitions.last() {
            self.go_to(&mut steps, Some(last.to));
        }
    }

    fn go_to(&self, steps: &mut Steps, state: Option<State>) {
        steps.measure();
        let mut own = std_lock(&self.state);
        if let Some(old) = *own {
            steps.breakers[state_index(old)] -= 1;
            *own = state;
        }
        if let Some(new) = *own {
            steps.breakers[state_index(new)] += 1;
        }
    }

    pub(crate) fn count_slow_call(&self) {
        std_lock(&self.meter.steps).slow_calls += 1;
    }

    pub(crate) fn count_probe(&self, end: CallEnd, slow: bool) {
        let probes = &mut std_lock(&self.meter.steps).probes;
        let count = match end {
            CallEnd::Success if slow => &mut probes.slow,
            CallEnd::Success => &mut probes.success,
            CallEnd::Failure => &mut probes.failure,
            CallEnd::Throttled => &mut probes.throttled,
            CallEnd::Ignored => &mut probes.ignored,
            CallEnd::Cancelled | CallEnd::Rejected | CallEnd::Unrecorded => &mut probes.cancelled,
        };
        *count += 1;
    }

    pub(crate) fn count_unfinished_probes(&self, probes: u32) {
        std_lock(&self.meter.steps).probes.unfinished += u64::from(probes);
    }
}

impl Drop for BreakerMeter {
    fn drop(&mut self) {
        self.go_to(&mut std_lock(&self.meter.steps), None);
        if self.meter.remove(self.id) {
            publish::end(Arc::clone(&self.meter));
        }
    }
}
