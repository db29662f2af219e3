//! The series of the metrics facade, and what was recorded of them.

use metrics::{
    Label,
    Unit::{Count, Seconds},
    counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use super::numbers::{BreakerMetrics, STATES, state_index};
use crate::{event::Reason, state::State};

const CALLS: &str = "circuit_breaker_calls_total";
const UNRECORDED: &str = "circuit_breaker_unrecorded_calls_total";
const WOULD_TRIP: &str = "circuit_breaker_would_trip_total";
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

/// Transitions that are reported as 0 from the start.
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

/// What the recorder has. It may panic at each of its functions, so a counter's value is noted just
/// before the counter is incremented: no increment happens twice.
#[derive(Default)]
struct Values {
    /// Whether everything was recorded the last time.
    is_complete: bool,
    calls: [u64; 6],
    unrecorded_calls: u64,
    slow_calls: u64,
    probes: [u64; 7],
    prevented: [u64; 2],
    transitions: Vec<u64>,
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
    pub(super) fn record(
        &mut self,
        recorder: usize,
        numbers: &BreakerMetrics,
        labels: &[Label],
        is_of_group: bool,
    ) {
        if std::mem::replace(&mut self.recorder, recorder) != recorder {
            self.values = None;
        }
        self.values.get_or_insert_default().record(numbers, labels, is_of_group);
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
    /// Records what has changed; at first, and after a panic, everything. To the function
    /// `increase` of Prometheus, a counter that begins with its first event has not increased: so
    /// what only a group can have, each group has from the start.
    fn record(&mut self, numbers: &BreakerMetrics, labels: &[Label], is_of_group: bool) {
        let is_new = !std::mem::replace(&mut self.is_complete, false);
        let count =
            |name: &'static str, more: &[(&'static str, &'static str)], old: &mut u64, new: u64| {
                if is_new || new != *old {
                    let counter = counter!(name, with(labels, more));
                    counter.increment(new.wrapping_sub(std::mem::replace(old, new)));
                }
            };
        for (old, (outcome, new)) in self.calls.iter_mut().zip(numbers.calls.by_outcome()) {
            count(CALLS, &[("outcome", outcome)], old, new);
        }
        // Those of a group that is reported by key are not of a key.
        let is_of_key = labels.iter().any(|label| label.key() == "key");
        if (is_of_group && !is_of_key) || numbers.unrecorded_calls > 0 {
            count(UNRECORDED, &[], &mut self.unrecorded_calls, numbers.unrecorded_calls);
        }
        count(SLOW_CALLS, &[], &mut self.slow_calls, numbers.slow_calls);
        for (old, (outcome, new)) in self.probes.iter_mut().zip(numbers.probes.by_outcome()) {
            count(PROBES, &[("outcome", outcome)], old, new);
        }
        for (old, (by, new)) in self.prevented.iter_mut().zip(numbers.prevented.by_cause()) {
            if is_of_group || new > 0 || by == "metrics_only" {
                count(WOULD_TRIP, &[("prevented_by", by)], old, new);
            }
        }
        for ((state, old), time) in STATES.iter().zip(&mut self.seconds).zip(numbers.times) {
            count(STATE_SECONDS, &[("state", state.as_str())], old, time.as_secs());
        }
        let transition = |from: State, to: State, reason: Reason, old: &mut u64, new| {
            let (from, to) = (("from", from.as_str()), ("to", to.as_str()));
            count(TRANSITIONS, &[from, to, ("reason", reason.as_str())], old, new);
        };
        if is_new {
            for (from, to, reason) in USUAL_TRANSITIONS {
                transition(from, to, reason, &mut 0, 0);
            }
        }
        // Their order stays.
        self.transitions.resize(numbers.transitions.len(), 0);
        for (old, new) in self.transitions.iter_mut().zip(&numbers.transitions) {
            transition(new.from, new.to, new.reason, old, new.count);
        }
        self.record_gauges(numbers, is_new, labels);
        self.is_complete = true;
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
        WOULD_TRIP,
        Count,
        "How often a rule would have opened a circuit breaker, by what has prevented it"
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
