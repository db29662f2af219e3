//! What is counted of the breakers with the same labels.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use metrics::Label;
use smol_str::SmolStr;

use super::{
    durations,
    lines::{self, ENDS, Slots},
    numbers::{
        BreakerMetrics, CallCounts, PreventedCounts, ProbeCounts, STATES, TransitionCount,
        state_index,
    },
    series::Published,
};
use crate::{
    clock::{SystemClock, Tick},
    event::Reason,
    state::State,
    stats::{Share, Stats},
    sync::std_lock,
};

/// The labels of the series of a breaker. All breakers with the same labels have one meter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Labels {
    /// The breaker's name, or the group's.
    pub(crate) name: SmolStr,
    /// The key of a group that is reported by key.
    pub(crate) key: Option<SmolStr>,
}

impl Counted {
    /// Whether it is a breaker of its own. Otherwise it counts for others, which may come and go.
    pub(crate) const fn is_breaker(&self) -> bool {
        match self {
            Self::Breaker(_) => true,
            #[cfg(feature = "keyed")]
            Self::Calls(_) => false,
        }
    }
}

impl Labels {
    /// As those of a series.
    pub(super) fn series(&self) -> Vec<Label> {
        let name = Label::new("name", self.name.to_string());
        let key = self.key.as_ref().map(|key| Label::new("key", key.to_string()));
        [Some(name), key].into_iter().flatten().collect()
    }

    pub(crate) fn named(name: impl Into<SmolStr>) -> Self {
        Self { name: name.into(), key: None }
    }
}

/// What is counted.
#[derive(Debug, Clone)]
pub(crate) enum Counted {
    #[cfg_attr(not(feature = "keyed"), expect(dead_code))]
    Breaker(Labels),
    /// Calls alone.
    #[cfg(feature = "keyed")]
    Calls(Labels),
}

/// Counts calls, transitions and probes, and measures the time in each state.
pub(crate) struct Meter {
    pub(super) labels: Labels,
    pub(super) slot: u32,
    /// What the slot had counted before.
    base: [u64; ENDS],
    pub(super) steps: Mutex<Steps>,
    /// Whether durations are measured, or were.
    pub(super) measures: AtomicBool,
    /// Whether it counts for a group of keyed breakers.
    pub(super) is_of_group: AtomicBool,
    sources: Mutex<Sources>,
    pub(super) published: Mutex<Published>,
}

/// What happens with the lock of a breaker held: seldom.
#[derive(Debug, Clone, Default)]
pub(super) struct Steps {
    /// How many breakers are in each state.
    pub(super) breakers: [u32; STATES.len()],
    /// How long breakers have been in each state until `measured`, together.
    times: [Duration; STATES.len()],
    measured: Option<Tick>,
    pub(super) slow_calls: u64,
    pub(super) probes: ProbeCounts,
    pub(super) prevented: PreventedCounts,
    transitions: Vec<TransitionCount>,
}

/// The breakers of a meter.
#[derive(Default)]
struct Sources {
    /// The first one, with its id. Most meters have one breaker, for which no map is allocated.
    first: Option<(u64, Weak<dyn StatsSource>)>,
    others: HashMap<u64, Weak<dyn StatsSource>>,
    last_id: u64,
    /// How many breakers count here. Without one, the meter is on its way out.
    users: usize,
}

impl Sources {
    fn insert(&mut self, id: u64, source: Weak<dyn StatsSource>) {
        match &mut self.first {
            first @ None => *first = Some((id, source)),
            Some(_) => drop(self.others.insert(id, source)),
        }
    }

    fn remove(&mut self, id: u64) {
        if self.first.take_if(|(first, _)| *first == id).is_none() {
            self.others.remove(&id);
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Weak<dyn StatsSource>> {
        self.first.iter().map(|(_, source)| source).chain(self.others.values())
    }
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

impl Steps {
    /// Those of a breaker that has been in this state since then.
    pub(super) fn since(began: Tick, state: Option<State>) -> Self {
        let mut steps = Self { measured: Some(began), ..Self::default() };
        if let Some(state) = state {
            steps.breakers[state_index(state)] = 1;
        }
        steps
    }

    /// Adds those of one more breaker.
    pub(super) fn add(&mut self, mut other: Self) {
        if self.measured.is_none() {
            // These are the first.
            *self = other;
            return;
        }
        self.measure();
        other.measure();
        for (sum, breakers) in self.breakers.iter_mut().zip(other.breakers) {
            *sum += breakers;
        }
        for (sum, time) in self.times.iter_mut().zip(other.times) {
            *sum = sum.saturating_add(time);
        }
        self.slow_calls += other.slow_calls;
        self.probes.add(other.probes);
        self.prevented.add(other.prevented);
        for TransitionCount { from, to, reason, count } in other.transitions {
            *self.count_of(from, to, reason) += count;
        }
    }

    /// A breaker goes from one state to another.
    pub(super) fn go(&mut self, from: Option<State>, to: Option<State>) {
        self.measure();
        if let Some(from) = from {
            self.breakers[state_index(from)] -= 1;
        }
        if let Some(to) = to {
            self.breakers[state_index(to)] += 1;
        }
    }

    /// Adds the time that has passed to the states that the breakers are in.
    pub(super) fn measure(&mut self) {
        let now = SystemClock::tick();
        if let Some(measured) = self.measured.replace(now) {
            let passed = now.since(measured);
            for (time, breakers) in self.times.iter_mut().zip(self.breakers) {
                *time = time.saturating_add(passed.saturating_mul(breakers));
            }
        }
    }

    pub(super) fn count_transition(&mut self, from: State, to: State, reason: Reason) {
        *self.count_of(from, to, reason) += 1;
    }

    fn count_of(&mut self, from: State, to: State, reason: Reason) -> &mut u64 {
        let is_it =
            |other: &TransitionCount| (other.from, other.to, other.reason) == (from, to, reason);
        let index = self.transitions.iter().position(is_it).unwrap_or_else(|| {
            self.transitions.push(TransitionCount { from, to, reason, count: 0 });
            self.transitions.len() - 1
        });
        &mut self.transitions[index].count
    }
}

impl Meter {
    fn new(labels: Labels, slot: u32) -> Self {
        // What another meter with this slot has left.
        durations::drain(slot, |_, _, _| ());
        Self {
            labels,
            slot,
            base: lines::total(slot),
            steps: Mutex::default(),
            measures: AtomicBool::new(false),
            is_of_group: AtomicBool::new(false),
            sources: Mutex::default(),
            published: Mutex::default(),
        }
    }

    /// The counts of this breaker are not asked for any more.
    #[cfg(feature = "keyed")]
    pub(super) fn stop_asking(&self, id: u64) {
        std_lock(&self.sources).remove(id);
    }

    /// Removes a breaker. Returns whether it was the last one.
    pub(super) fn remove(&self, id: u64) -> bool {
        let mut sources = std_lock(&self.sources);
        sources.remove(id);
        sources.users -= 1;
        sources.users == 0
    }

    /// What was counted so far.
    pub(super) fn read(&self) -> BreakerMetrics {
        let [failures, slow_calls] = self.shares();
        let mut counts = lines::total(self.slot);
        for (count, base) in counts.iter_mut().zip(self.base) {
            *count = count.wrapping_sub(base);
        }
        let [success, failure, throttled, ignored, cancelled, rejected, unrecorded_calls] = counts;
        let calls = CallCounts { success, failure, throttled, ignored, cancelled, rejected };
        let mut steps = std_lock(&self.steps);
        steps.measure();
        BreakerMetrics {
            calls,
            unrecorded_calls,
            slow_calls: steps.slow_calls,
            probes: steps.probes,
            prevented: steps.prevented,
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
        let sources: Vec<_> = std_lock(&self.sources).iter().cloned().collect();
        let stats = sources.iter().filter_map(|source| source.upgrade()?.stats());
        stats.fold([None, None], |[failures, slow_calls], stats| {
            [add(failures, stats.failures), add(slow_calls, stats.slow_calls)]
        })
    }
}

static REGISTRY: LazyLock<Mutex<MeterRegistry>> = LazyLock::new(Mutex::default);

/// The meters by their labels. One whose last breaker is gone stays until that is published.
#[derive(Default)]
struct MeterRegistry {
    meters: HashMap<Labels, Arc<Meter>>,
    by_slot: Vec<Option<Arc<Meter>>>,
    slots: Slots,
}

impl MeterRegistry {
    /// Adds a breaker. Its counts are those of the source, which lives as long as the breaker.
    fn begin(
        &mut self,
        labels: Labels,
        source: Option<&Arc<dyn StatsSource>>,
    ) -> (Arc<Meter>, u64) {
        let (slots, by_slot) = (&mut self.slots, &mut self.by_slot);
        let new = |labels: &Labels| {
            let slot = slots.take();
            let meter = Arc::new(Meter::new(labels.clone(), slot));
            if by_slot.len() <= slot as usize {
                by_slot.resize_with(slot as usize + 1, || None);
            }
            by_slot[slot as usize] = Some(Arc::clone(&meter));
            meter
        };
        let meter = self.meters.entry(labels).or_insert_with_key(new);
        let mut sources = std_lock(&meter.sources);
        sources.users += 1;
        sources.last_id += 1;
        let id = sources.last_id;
        if let Some(source) = source {
            sources.insert(id, Arc::downgrade(source));
        }
        (Arc::clone(meter), id)
    }
}

/// The meters in a range of slots of this size. `None` if there are no slots from there on.
pub(super) fn meters_from(slot: usize, limit: usize) -> Option<Vec<Arc<Meter>>> {
    let registry = std_lock(&REGISTRY);
    let slots = registry.by_slot.get(slot..).filter(|slots| !slots.is_empty())?;
    Some(slots.iter().take(limit).flatten().cloned().collect())
}

/// Whether a meter has no breaker any more.
pub(super) fn is_over(meter: &Meter) -> bool {
    std_lock(&meter.sources).users == 0
}

/// Removes a meter without breakers, unless another one has begun to count there. Returns whether
/// it is gone.
pub(super) fn remove(meter: &Arc<Meter>) -> bool {
    let mut registry = std_lock(&REGISTRY);
    let Some((labels, known)) = registry.meters.remove_entry(&meter.labels) else { return false };
    // Another meter may have the labels by now.
    if !Arc::ptr_eq(&known, meter) || !is_over(meter) {
        registry.meters.insert(labels, known);
        return false;
    }
    if let Some(own) = registry.by_slot.get_mut(meter.slot as usize) {
        *own = None;
    }
    if meter.measures.load(Relaxed) {
        durations::give_back(meter.slot);
    }
    registry.slots.give_back(meter.slot);
    true
}

pub(super) fn is_empty() -> bool {
    std_lock(&REGISTRY).meters.is_empty()
}

/// The meter with these labels, to which a breaker is added, and the breaker's id there.
pub(super) fn begin(labels: Labels, source: Option<&Arc<dyn StatsSource>>) -> (Arc<Meter>, u64) {
    std_lock(&REGISTRY).begin(labels, source)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Breaker;

    impl StatsSource for Breaker {
        fn stats(&self) -> Option<Stats> {
            None
        }
    }

    #[test]
    fn the_sources_of_a_meter_come_and_go_in_any_order() {
        let breaker = Arc::new(Breaker);
        let source = || Arc::downgrade(&breaker) as Weak<dyn StatsSource>;
        let mut sources = Sources::default();
        let mut counts = Vec::new();
        for id in 1..=3 {
            sources.insert(id, source());
            counts.push(sources.iter().count());
        }
        sources.remove(1);
        counts.push(sources.iter().count());
        sources.insert(4, source());
        counts.push(sources.iter().count());
        for id in [3, 4, 4, 2] {
            sources.remove(id);
            counts.push(sources.iter().count());
        }
        assert_eq!(counts, [1, 2, 3, 2, 3, 2, 1, 1, 0]);
        assert_eq!(Arc::weak_count(&breaker), 0);
    }
}
