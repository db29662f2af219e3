//! What is counted of the breakers with the same labels.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use smol_str::SmolStr;

use super::{
    lines::{self, ENDS, Slots},
    numbers::{BreakerMetrics, CallCounts, ProbeCounts, TransitionCount},
};
use crate::{
    clock::{SystemClock, Tick},
    event::{Reason, Transition},
    outcome::CallEnd,
    state::State,
    stats::{Share, Stats},
    sync::std_lock,
};

/// The labels of the series of a breaker. All breakers with the same labels have one meter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Labels {
    /// The breaker's name, or the group's.
    pub(crate) name: SmolStr,
    /// The key of a group that is reported by key.
    pub(crate) key: Option<SmolStr>,
}

impl Labels {
    pub(crate) fn named(name: impl Into<SmolStr>) -> Self {
        Self { name: name.into(), key: None }
    }
}

/// Counts calls, transitions and probes, and measures the time in each state.
pub(crate) struct Meter {
    pub(super) labels: Labels,
    pub(super) slot: u32,
    /// What the slot had counted before.
    base: [u64; ENDS],
    steps: Mutex<Steps>,
    sources: Mutex<Sources>,
    pub(super) published: Mutex<super::publish::Published>,
}

/// What happens with the lock of a breaker held: seldom.
#[derive(Debug, Clone, Default)]
struct Steps {
    /// How many breakers are in each state.
    breakers: [u32; STATES.len()],
    /// How long breakers have been in each state until `measured`, together.
    times: [Duration; STATES.len()],
    measured: Option<Tick>,
    slow_calls: u64,
    probes: ProbeCounts,
    transitions: Vec<TransitionCount>,
}

/// The breakers of a meter.
#[derive(Default)]
struct Sources {
    by_id: BTreeMap<u64, Weak<dyn StatsSource>>,
    last_id: u64,
    /// How many breakers count here. Without one, the meter is on its way out.
    users: usize,
}

/// A breaker that knows its rates.
pub(crate) trait StatsSource: Send + Sync {
    /// The counts by which its rules decide now. `None` if the breaker is gone.
    fn stats(&self) -> Option<Stats>;
}

/// The shares of several breakers together.
fn add(left: Option<Share>, right: Option<Share>) -> Option<Share> {
    match (left, right) {
        (Some(left), Some(right)) => {
            Some(Share { part: left.part + right.part, calls: left.calls + right.calls })
        }
        (left, right) => left.or(right),
    }
}

/// Every state, in the order of [`state_index`].
pub(super) const STATES: [State; 6] = [
    State::Closed,
    State::Open,
    State::HalfOpen,
    State::ForcedOpen,
    State::Disabled,
    State::MetricsOnly,
];

pub(super) const fn state_index(state: State) -> usize {
    match state {
        State::Closed => 0,
        State::Open => 1,
        State::HalfOpen => 2,
        State::ForcedOpen => 3,
        State::Disabled => 4,
        State::MetricsOnly => 5,
    }
}

impl Steps {
    /// Adds the time that has passed to the states that the breakers are in.
    fn measure(&mut self) {
        let now = SystemClock::tick();
        if let Some(measured) = self.measured.replace(now) {
            let passed = now.since(measured);
            for (time, breakers) in self.times.iter_mut().zip(self.breakers) {
                *time = time.saturating_add(passed.saturating_mul(breakers));
            }
        }
    }

    fn count_transition(&mut self, from: State, to: State, reason: Reason) {
        let is_it = |other: &&mut TransitionCount| {
            (other.from, other.to, other.reason) == (from, to, reason)
        };
        match self.transitions.iter_mut().find(is_it) {
            Some(other) => other.count += 1,
            None => self.transitions.push(TransitionCount { from, to, reason, count: 1 }),
        }
    }
}

impl Meter {
    fn new(labels: Labels, slot: u32) -> Self {
        Self {
            labels,
            slot,
            base: lines::total(slot),
            steps: Mutex::default(),
            sources: Mutex::default(),
            published: Mutex::default(),
        }
    }

    /// What was counted so far.
    pub(super) fn read(&self) -> BreakerMetrics {
        let [failures, slow_calls] = self.shares();
        let mut counts = lines::total(self.slot);
        for (count, base) in counts.iter_mut().zip(self.base) {
            *count = count.wrapping_sub(base);
        }
        let [success, failure, throttled, ignored, cancelled, rejected] = counts;
        let calls = CallCounts { success, failure, throttled, ignored, cancelled, rejected };
        let mut steps = std_lock(&self.steps);
        steps.measure();
        BreakerMetrics {
            calls,
            slow_calls: steps.slow_calls,
            probes: steps.probes,
            transitions: steps.transitions.clone(),
            failure_ratio: failures.map(Share::ratio),
            slow_call_ratio: slow_calls.map(Share::ratio),
            breakers: steps.breakers,
            times: steps.times,
        }
    }

    /// Asks every breaker, which also brings those with a clock of the user's up to now. Returns
    /// the shares of failures and of slow calls.
    fn shares(&self) -> [Option<Share>; 2] {
        // No lock is held while a breaker is asked: it takes its own.
        let sources: Vec<_> = std_lock(&self.sources).by_id.values().cloned().collect();
        let stats = sources.iter().filter_map(|source| source.upgrade()?.stats());
        stats.fold([None, None], |[failures, slow_calls], stats| {
            [add(failures, stats.failures), add(slow_calls, stats.slow_calls)]
        })
    }
}

/// A breaker's part of its meter. Dropped with the breaker.
pub(crate) struct BreakerMeter {
    meter: Arc<Meter>,
    id: u64,
    state: Mutex<State>,
}

impl BreakerMeter {
    /// Begins to count for one more breaker with these labels. It is closed.
    pub(crate) fn begin(labels: Labels) -> Self {
        let (meter, id) = std_lock(&REGISTRY).begin(labels);
        let mut steps = std_lock(&meter.steps);
        steps.measure();
        steps.breakers[state_index(State::Closed)] += 1;
        drop(steps);
        super::publish::start();
        Self { meter, id, state: Mutex::new(State::Closed) }
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
        std_lock(&self.meter.sources).by_id.insert(self.id, Arc::downgrade(source));
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
        steps.breakers[state_index(*own)] -= 1;
        if let Some(state) = state {
            steps.breakers[state_index(state)] += 1;
            *own = state;
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
            CallEnd::Cancelled | CallEnd::Rejected => &mut probes.cancelled,
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
        let mut sources = std_lock(&self.meter.sources);
        sources.by_id.remove(&self.id);
        sources.users -= 1;
        let is_last = sources.users == 0;
        drop(sources);
        if is_last {
            super::publish::end(Arc::clone(&self.meter));
        }
    }
}

static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { meters: BTreeMap::new(), slots: Slots::new() });

/// The meters by their labels. One whose last breaker is gone stays until that is published.
struct Registry {
    meters: BTreeMap<Labels, Arc<Meter>>,
    slots: Slots,
}

impl Registry {
    /// Adds a breaker. It has an id of its own in the meter.
    fn begin(&mut self, labels: Labels) -> (Arc<Meter>, u64) {
        let slots = &mut self.slots;
        let new = |labels: &Labels| Arc::new(Meter::new(labels.clone(), slots.take()));
        let meter = self.meters.entry(labels).or_insert_with_key(new);
        let mut sources = std_lock(&meter.sources);
        sources.users += 1;
        sources.last_id += 1;
        (Arc::clone(meter), sources.last_id)
    }
}

/// The meters after these labels, at most this many.
pub(super) fn meters_after(labels: Option<&Labels>, limit: usize) -> Vec<Arc<Meter>> {
    use std::ops::Bound::{Excluded, Unbounded};
    let registry = std_lock(&REGISTRY);
    let begin = labels.map_or(Unbounded, Excluded);
    registry
        .meters
        .range((begin, Unbounded))
        .take(limit)
        .map(|(_, meter)| Arc::clone(meter))
        .collect()
}

/// Whether a meter has no breaker any more.
pub(super) fn is_over(meter: &Meter) -> bool {
    std_lock(&meter.sources).users == 0
}

/// Removes a meter whose end has been published, unless another breaker has begun to count there.
pub(super) fn remove(meter: &Arc<Meter>) {
    let mut registry = std_lock(&REGISTRY);
    if is_over(meter) && registry.meters.remove(&meter.labels).is_some() {
        registry.slots.give_back(meter.slot);
    }
}

pub(super) fn is_empty() -> bool {
    std_lock(&REGISTRY).meters.is_empty()
}
