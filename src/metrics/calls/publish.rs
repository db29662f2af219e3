//! What was counted, to the metrics facade: each second, on the housekeeping thread.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use metrics::{
    Label,
    Unit::{Count, Seconds},
    counter, describe_counter, describe_gauge, gauge,
};

use super::{
    meter::{self, Labels, Meter},
    numbers::{BreakerMetrics, CallCounts, ProbeCounts, STATES, TransitionCount, state_index},
};
use crate::{
    clock::{SystemClock, Tick},
    event::Reason,
    metrics::record,
    state::State,
    sync::std_lock,
    timer::housekeeping::{self, OnDeadline},
};

const CALLS: &str = "circuit_breaker_calls_total";
const UNRECORDED: &str = "circuit_breaker_unrecorded_calls_total";
const SLOW_CALLS: &str = "circuit_breaker_slow_calls_total";
const STATE: &str = "circuit_breaker_state";
const STATE_SECONDS: &str = "circuit_breaker_state_seconds_total";
const TRANSITIONS: &str = "circuit_breaker_transitions_total";
const FAILURE_RATIO: &str = "circuit_breaker_failure_ratio";
const SLOW_CALL_RATIO: &str = "circuit_breaker_slow_call_ratio";
const PROBES: &str = "circuit_breaker_probes_total";

const INTERVAL: Duration = Duration::from_secs(1);

/// Gauges that do not change are set again after this many intervals, for recorders that drop what
/// is not set for some time.
const GAUGE_INTERVALS: u8 = 5;

/// How many meters may wait for the publication of their end. A thread that ends one more publishes
/// it itself, so that short-lived breakers do not pile up.
const MAX_ENDED: usize = 1024;

/// How many meters are looked up at a time.
const BATCH: usize = 256;

/// Transitions that are reported as 0 from the start: to the function `increase` of Prometheus, a
/// counter that begins with its first event has not increased.
const USUAL_TRANSITIONS: [(State, State, Reason); 7] = [
    (State::Closed, State::Open, Reason::ConsecutiveFailures),
    (State::Closed, State::Open, Reason::FailureRate),
    (State::Closed, State::Open, Reason::SlowCallRate),
    (State::Open, State::HalfOpen, Reason::RecoveryTimeout),
    (State::HalfOpen, State::Open, Reason::ProbeFailed),
    (State::HalfOpen, State::Open, Reason::ProbeTimeout),
    (State::HalfOpen, State::Closed, Reason::ProbesSucceeded),
];

static PUBLISHER: Publisher =
    Publisher { scheduled: Mutex::new(false), ended: Mutex::new(Vec::new()) };

/// One thread at a time publishes: what was read first must be recorded first.
static PUBLISHED: Mutex<Published> = Mutex::new(Published { recorder: 0, values: BTreeMap::new() });

struct Publisher {
    /// Whether the housekeeping thread calls again.
    scheduled: Mutex<bool>,
    /// Meters that have lost their last breaker since the last publication.
    ended: Mutex<Vec<Arc<Meter>>>,
}

/// What was recorded with a recorder.
struct Published {
    /// Its address. With another one, recording begins anew.
    recorder: usize,
    /// By the slots of the meters.
    values: BTreeMap<u32, Box<Values>>,
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

/// Publishes from now on.
pub(super) fn start() {
    let mut scheduled = std_lock(&PUBLISHER.scheduled);
    if !std::mem::replace(&mut *scheduled, true) {
        schedule();
    }
}

/// A meter has lost its last breaker.
pub(super) fn end(meter: Arc<Meter>) {
    let are_many = {
        let mut ended = std_lock(&PUBLISHER.ended);
        ended.push(meter);
        ended.len() >= MAX_ENDED
    };
    // A recorder may drop breakers too.
    if are_many && !IS_PUBLISHING.get() {
        publish_ended();
    }
}

#[cfg(not(tower_breaker_loom))]
fn schedule() {
    housekeeping::schedule(&PUBLISHER, SystemClock::tick().after(INTERVAL), Tick::NEVER);
}

/// A model has no threads but its own.
#[cfg(tower_breaker_loom)]
fn schedule() {
    let _: &dyn OnDeadline = &PUBLISHER;
    let _ = (INTERVAL, Tick::NEVER, SystemClock::tick);
}

impl OnDeadline for Publisher {
    fn on_deadline(&'static self, _: Tick) {
        publish_all();
        let mut scheduled = std_lock(&self.scheduled);
        *scheduled = !meter::is_empty();
        if *scheduled {
            schedule();
        }
    }
}

/// Publishes what every meter has counted, and removes those that have ended.
fn publish_all() {
    publish_ended();
    let mut last: Option<Labels> = None;
    loop {
        let meters = meter::meters_after(last.as_ref(), BATCH);
        let Some(newest) = meters.last() else { return };
        last = Some(newest.labels.clone());
        publish(&meters);
    }
}

fn publish_ended() {
    let ended = std::mem::take(&mut *std_lock(&PUBLISHER.ended));
    publish(&ended);
}

fn publish(meters: &[Arc<Meter>]) {
    let mut published = std_lock(&PUBLISHED);
    IS_PUBLISHING.set(true);
    for meter in meters {
        published.update(meter);
    }
    IS_PUBLISHING.set(false);
}

thread_local! {
    /// Whether this thread calls the recorder.
    static IS_PUBLISHING: Cell<bool> = const { Cell::new(false) };
}

impl Published {
    /// Records what has changed, and removes a meter that has ended.
    fn update(&mut self, meter: &Arc<Meter>) {
        let is_over = meter::is_over(meter);
        let numbers = meter.read();
        record(|recorder| {
            if std::mem::replace(&mut self.recorder, recorder) != recorder {
                self.values.clear();
            }
            // Taken out: if the recorder panics, everything is recorded again.
            let before = self.values.remove(&meter.slot);
            let now = Values::record(numbers, before, &labels_of(&meter.labels));
            self.values.insert(meter.slot, now);
        });
        if is_over && meter::remove(meter) {
            self.values.remove(&meter.slot);
        }
    }
}

fn labels_of(labels: &Labels) -> Vec<Label> {
    let name = Label::new("name", labels.name.to_string());
    let key = labels.key.as_ref().map(|key| Label::new("key", key.to_string()));
    [Some(name), key].into_iter().flatten().collect()
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
}
