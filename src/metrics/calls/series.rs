//! The series of the metrics facade, and what was recorded of them.

use metrics::{
    Label,
    Unit::{Count, Seconds},
    counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use super::numbers::{
    BreakerMetrics, CallCounts, ProbeCounts, STATES, TransitionCount, state_index,
};
use crate::{event::Reason, state::State};

const CALLS: &str = "circuit_breaker_calls_total";
const UNRECORDED: &str = "circuit_breaker_unrecorded_calls_total";
const SLOW_CALLS: &str = "circuit_breaker_slow_calls_total";
const STATE: &str = "circuit_breaker_state";
const STATE_SECONDS: &str = "circuit_breaker_state_seconds_total";
const TRANSITIONS: &str = "circuit_breaker_transitions_total";
const FAILURE_RATIO: &str = "circuit_breaker_failure_ratio";
const SLOW_CALL_RATIO: &str = "circuit_breaker_slow_call_ratio";
const PROBES: &str = "circuit_breaker_probes_total";
const DURATION: &str = "circuit_breaker_call_duration_seconds";

/// Gauges that do not change are set again after this many intervals, for recorders that drop what
/// is not set for some time.
const GAUGE_INTERVALS: u8 = 5;

/// Transitions that are reported as 0 from the start: to the function `increase` of Prometheus, a
/// counter that begins with its first event has not increased.
const USUAL_TRANSITIONS: [(State, State, Reason); 10] = [
    (State::Closed, State::Open, Reason::ConsecutiveFailures),
    (State::Closed, State::Open, Reason::FailureRate),
    (State::Closed, State::Open, Reason::SlowCallRate),
    (State::Closed, State::Open, Reason::HealthCheck),
    (State::Closed, State::Open, Reason::Fleet),
    (State::Open, State::HalfOpen, Reason::RecoveryTimeout),
    (State::HalfOpen, State::Open, Reason::ProbeFailed),
    (State::HalfOpen, State::Open, Reason::ProbeSlow),
    (State::HalfOpen, State::Open, Reason::ProbeTimeout),
    (State::HalfOpen, State::Closed, Reason::ProbesSucceeded),
];

/// What was recorded of a meter. The lock is held meanwhile, because what was read first must be
/// recorded first.
#[derive(Default)]
pub(super) struct Published {
    /// The address of the recorder. With another one, recording begins anew.
    recorder: usize,
    values: Option<Box<Values>>,
    /// Whether the meter has been removed.
    pub(super) is_removed: bool,
}

struct Values {
    calls: CallCounts,
    unrecorded_calls: u64,
    slow_calls: u64,
    probes: ProbeCounts,
    transitions: Vec<TransitionCount>,
    seconds: [u64; STATES.len()],
    gauges: Gauges,
    /// How many intervals ago all gauges were set.
    age: u8,
}

#[derive(Clone, Copy, PartialEq, Default)]
struct Gauges {
    breakers: [u32; STATES.len()],
    failure_ratio: Option<f64>,
    slow_call_ratio: Option<f64>,
}

impl Published {
    /// Records what has changed.
    pub(super) fn record(&mut self, recorder: usize, numbers: BreakerMetrics, labels: &[Label]) {
        let is_known = std::mem::replace(&mut self.recorder, recorder) == recorder;
        // Taken out: if the recorder panics, everything is recorded again.
        let before = self.values.take().filter(|_| is_known);
        self.values = Some(Values::record(numbers, before, labels));
    }
}

/// Records how often a call took this time.
pub(super) fn record_duration(labels: &[Label], outcome: &'static str, seconds: f64, calls: usize) {
    histogram!(DURATION, with(labels, &[("outcome", outcome)])).record_many(seconds, calls);
}

fn with(labels: &[Label], more: &[(&'static str, &'static str)]) -> Vec<Label> {
    let more = more.iter().map(|(name, value)| Label::from_static_parts(name, value));
    labels.iter().cloned().chain(more).collect()
}

impl Values {
    /// Records what has changed; at first, everything.
    fn record(numbers: BreakerMetrics, before: Option<Box<Self>>, labels: &[Label]) -> Box<Self> {
        let is_new = before.is_none();
        let mut values = before.unwrap_or_else(|| {
            Box::new(Self {
                calls: CallCounts::default(),
                unrecorded_calls: 0,
                slow_calls: 0,
                probes: ProbeCounts::default(),
                transitions: Vec::new(),
                seconds: [0; STATES.len()],
                gauges: Gauges::default(),
                age: 0,
            })
        });
        let count = |name: &'static str, more: &[(&'static str, &'static str)], old, new: u64| {
            if is_new || new != old {
                counter!(name, with(labels, more)).increment(new.wrapping_sub(old));
            }
        };
        let calls = values.calls.by_outcome().into_iter().zip(numbers.calls.by_outcome());
        for ((outcome, old), (_, new)) in calls {
            count(CALLS, &[("outcome", outcome)], old, new);
        }
        if numbers.unrecorded_calls > 0 {
            count(UNRECORDED, &[], values.unrecorded_calls, numbers.unrecorded_calls);
        }
        count(SLOW_CALLS, &[], values.slow_calls, numbers.slow_calls);
        let probes = values.probes.by_outcome().into_iter().zip(numbers.probes.by_outcome());
        for ((outcome, old), (_, new)) in probes {
            count(PROBES, &[("outcome", outcome)], old, new);
        }
        let seconds = numbers.times.map(|time| time.as_secs());
        for ((state, old), new) in STATES.iter().zip(values.seconds).zip(seconds) {
            count(STATE_SECONDS, &[("state", state.as_str())], old, new);
        }
        let transition = |from: State, to: State, reason: Reason, old, new| {
            let (from, to) = (("from", from.as_str()), ("to", to.as_str()));
            count(TRANSITIONS, &[from, to, ("reason", reason.as_str())], old, new);
        };
        if is_new {
            for (from, to, reason) in USUAL_TRANSITIONS {
                transition(from, to, reason, 0, 0);
            }
        }
        for (index, new) in numbers.transitions.iter().enumerate() {
            // Their order stays.
            let old = values.transitions.get(index).map_or(0, |old| old.count);
            transition(new.from, new.to, new.reason, old, new.count);
        }
        values.calls = numbers.calls;
        values.unrecorded_calls = numbers.unrecorded_calls;
        values.slow_calls = numbers.slow_calls;
        values.probes = numbers.probes;
        values.seconds = seconds;
        values.record_gauges(&numbers, is_new, labels);
        values.transitions = numbers.transitions;
        values
    }

    fn record_gauges(&mut self, numbers: &BreakerMetrics, is_new: bool, labels: &[Label]) {
        let had_rates = self.gauges;
        // A breaker that is gone has no rates any more.
        let ratio = |old: Option<f64>, new: Option<f64>| new.or(old.map(|_| 0.0));
        let gauges = Gauges {
            breakers: numbers.breakers,
            failure_ratio: ratio(had_rates.failure_ratio, numbers.failure_ratio),
            slow_call_ratio: ratio(had_rates.slow_call_ratio, numbers.slow_call_ratio),
        };
        self.age = self.age.saturating_add(1);
        if !is_new && gauges == self.gauges && self.age < GAUGE_INTERVALS {
            return;
        }
        self.age = 0;
        self.gauges = gauges;
        for state in STATES {
            let breakers = gauges.breakers[state_index(state)];
            gauge!(STATE, with(labels, &[("state", state.as_str())])).set(f64::from(breakers));
        }
        for (name, ratio) in
            [(FAILURE_RATIO, gauges.failure_ratio), (SLOW_CALL_RATIO, gauges.slow_call_ratio)]
        {
            if let Some(ratio) = ratio {
                gauge!(name, labels.to_vec()).set(ratio);
            }
        }
    }
}

pub(in crate::metrics) fn describe() {
    describe_counter!(
        CALLS,
        Count,
        "Calls through circuit breakers that have ended, by outcome; each call is counted once"
    );
    describe_counter!(
        UNRECORDED,
        Count,
        "Calls that were admitted and not recorded, because a group of keyed breakers was full"
    );
    describe_counter!(
        SLOW_CALLS,
        Count,
        "Calls through circuit breakers that took longer than a slow-call rule allows"
    );
    describe_gauge!(
        STATE,
        "1 for the state that the circuit breaker is in, 0 for the others; \
         for several breakers with the same labels, how many are in the state"
    );
    describe_counter!(STATE_SECONDS, Seconds, "Time that circuit breakers have been in each state");
    describe_counter!(
        TRANSITIONS,
        Count,
        "Changes of circuit breakers from one state to another, by reason"
    );
    describe_gauge!(
        FAILURE_RATIO,
        "Share of failed calls in the window of the circuit breaker's first failure-rate rule"
    );
    describe_gauge!(
        SLOW_CALL_RATIO,
        "Share of slow calls in the window of the circuit breaker's first slow-call rule"
    );
    describe_counter!(
        PROBES,
        Count,
        "Probes of half-open circuit breakers that have ended, by outcome"
    );
    describe_histogram!(
        DURATION,
        Seconds,
        "Durations of calls that circuit breakers have admitted, by outcome"
    );
}
