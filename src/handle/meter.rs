//! A breaker's part of the metrics. Without the feature `metrics`, nothing.

#[cfg(feature = "metrics")]
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

#[cfg(feature = "metrics")]
use smol_str::SmolStr;

use crate::{breaker::effects::EndCounts, event::Transition, metrics::MeterSlot};
#[cfg(feature = "metrics")]
use crate::{
    clock::{SystemClock, Tick},
    config::CallMetrics,
    event::Reason,
    metrics::{BreakerMeter, BreakerMetrics, Counted, CountedBreaker, StatsSource},
    state::State,
    sync::std_lock,
};

/// A breaker that is restored within this time is counted as if it had begun with the state.
#[cfg(feature = "metrics")]
const BUILD: Duration = Duration::from_millis(1);

/// Counts until the breaker ends.
#[cfg(feature = "metrics")]
pub(super) struct Meter(Mutex<Counting>);

/// Small, because most of a hundred thousand breakers may be quiet.
#[cfg(feature = "metrics")]
enum Counting {
    /// Nothing is counted, and there is nothing to know to begin again.
    Off,
    /// The breaker has been in this state since it was built: restored, if it is not closed.
    /// Nothing else has happened. It is counted by its name.
    Quiet(Tick, State, CountedBreaker),
    Full(Box<Full>),
}

#[cfg(feature = "metrics")]
struct Full {
    /// What the breaker is counted with. `None`: it is counted by its name.
    group: Option<Box<Counted>>,
    /// `None` while nothing is counted.
    meter: Option<BreakerMeter>,
}

#[cfg(feature = "metrics")]
impl Counting {
    fn new(call_metrics: CallMetrics, group: Option<Counted>) -> Self {
        let began = SystemClock::tick();
        let is_breaker = group.as_ref().is_none_or(Counted::is_breaker);
        let measures = call_metrics == CallMetrics::Durations;
        match (call_metrics, group) {
            (CallMetrics::Off, None) => Self::Off,
            (CallMetrics::Counts, None) => Self::Quiet(began, State::Closed, CountedBreaker::new()),
            (CallMetrics::Off, Some(group)) => {
                Self::Full(Box::new(Full { group: Some(Box::new(group)), meter: None }))
            }
            (CallMetrics::Counts | CallMetrics::Durations, group) => {
                let state = is_breaker.then_some(State::Closed);
                let meter = BreakerMeter::new(CountedBreaker::new(), state, measures, began);
                let group = group.map(Box::new);
                Self::Full(Box::new(Full { group, meter: Some(meter) }))
            }
        }
    }

    /// Notes the transition of a breaker that is restored while it is built, if that is all.
    /// Returns whether it did: of a start with many breakers, many may be open.
    fn note_restored(&mut self, transitions: &[Transition]) -> bool {
        let Self::Quiet(began, state @ State::Closed, _) = self else { return false };
        let [Transition { from: State::Closed, to, reason: Reason::Restored, .. }] = transitions
        else {
            return false;
        };
        if SystemClock::tick().since(*began) > BUILD {
            return false;
        }
        *state = *to;
        true
    }

    /// What is counted is something that a quiet breaker has no room for.
    fn full(&mut self) -> Option<&mut Full> {
        *self = match std::mem::replace(self, Self::Off) {
            Self::Quiet(began, state, breaker) => {
                let mut meter = BreakerMeter::new(breaker, Some(state), false, began);
                if state != State::Closed {
                    meter.count_restored();
                }
                Self::Full(Box::new(Full { group: None, meter: Some(meter) }))
            }
            other => other,
        };
        if let Self::Full(full) = self { Some(full) } else { None }
    }
}

#[cfg(feature = "metrics")]
impl Meter {
    pub(super) fn new(call_metrics: CallMetrics, group: Option<Counted>) -> Self {
        Self(Mutex::new(Counting::new(call_metrics, group)))
    }

    /// Counts what these settings say from now on, of a breaker in this state. Returns where calls
    /// are counted, and what has ended, which is dropped without the breaker's lock.
    pub(super) fn set(
        &self,
        call_metrics: CallMetrics,
        state: State,
    ) -> (MeterSlot, Option<BreakerMeter>) {
        let mut counting = std_lock(&self.0);
        match (&*counting, call_metrics) {
            (Counting::Quiet(..), CallMetrics::Counts) => return (MeterSlot::WAITING, None),
            (Counting::Off, CallMetrics::Counts | CallMetrics::Durations) => {
                *counting = Counting::Full(Box::new(Full { group: None, meter: None }));
            }
            _ => {}
        }
        let Some(full) = counting.full() else { return (MeterSlot::OFF, None) };
        if call_metrics == CallMetrics::Off {
            return (MeterSlot::OFF, full.meter.take());
        }
        let state = full.group.as_deref().is_none_or(Counted::is_breaker).then_some(state);
        let measures = call_metrics == CallMetrics::Durations;
        let new = || BreakerMeter::new(CountedBreaker::new(), state, measures, SystemClock::tick());
        (full.meter.get_or_insert_with(new).set_measures(measures), None)
    }

    pub(super) fn slot(&self) -> MeterSlot {
        match &*std_lock(&self.0) {
            Counting::Off => MeterSlot::OFF,
            Counting::Full(full) if full.meter.is_none() => MeterSlot::OFF,
            Counting::Quiet(..) | Counting::Full(_) => MeterSlot::WAITING,
        }
    }

    /// Whether it is counted with others, which may read it at any time, and whose counts stay when
    /// this breaker goes.
    pub(super) fn is_of_group(&self) -> bool {
        matches!(&*std_lock(&self.0), Counting::Full(full) if full.group.is_some())
    }

    pub(super) fn begin(&self, name: &SmolStr, source: &Arc<dyn StatsSource>) -> MeterSlot {
        let mut counting = std_lock(&self.0);
        let Some(Full { group, meter: Some(meter) }) = counting.full() else {
            return MeterSlot::OFF;
        };
        meter.begin(name, group.as_deref(), source)
    }

    fn with(&self, work: impl FnOnce(&mut BreakerMeter)) {
        if let Some(Full { meter: Some(meter), .. }) = std_lock(&self.0).full() {
            work(meter);
        }
    }

    pub(super) fn read(&self) -> Option<BreakerMetrics> {
        // Not with the lock: the breaker is asked, and may have something to record here.
        let read = match &*std_lock(&self.0) {
            Counting::Full(full) => full.meter.as_ref().and_then(BreakerMeter::reader)?,
            Counting::Off | Counting::Quiet(..) => return None,
        };
        Some(read())
    }

    pub(super) fn record_transitions(&self, transitions: &[Transition]) {
        if !std_lock(&self.0).note_restored(transitions) {
            self.with(|meter| meter.record_transitions(transitions));
        }
    }

    pub(super) fn count(&self, counts: EndCounts) {
        let EndCounts { slow, probe, unfinished_probes, streams, prevented_by } = counts;
        self.with(|meter| {
            meter.count(slow, probe, unfinished_probes);
            meter.count_streams(streams.in_time, streams.slow);
            meter.count_prevented(prevented_by);
        });
    }

    /// The breaker has left its group.
    #[cfg(feature = "keyed")]
    pub(super) fn leave_group(&self) {
        self.with(BreakerMeter::leave_group);
    }

    /// The breaker is gone.
    pub(super) fn end(&self) {
        let ended = std::mem::replace(&mut *std_lock(&self.0), Counting::Off);
        drop(ended);
    }
}

#[cfg(not(feature = "metrics"))]
pub(super) struct Meter;

#[cfg(not(feature = "metrics"))]
#[expect(clippy::unused_self, reason = "with the feature, it is used")]
impl Meter {
    pub(super) fn slot(&self) -> MeterSlot {
        MeterSlot::OFF
    }

    pub(super) fn record_transitions(&self, _: &[Transition]) {}

    pub(super) fn count(&self, _: EndCounts) {}

    #[cfg(feature = "keyed")]
    pub(super) fn leave_group(&self) {}

    pub(super) fn end(&self) {}
}

#[cfg(all(test, feature = "metrics", not(tower_breaker_loom)))]
mod tests {
    use std::time::Duration;

    use crate::{
        event::Reason,
        handle::Breaker,
        metrics::{BreakerMetrics, TransitionCount},
        state::State,
    };

    fn states(metrics: &BreakerMetrics) -> [u32; 3] {
        [State::Closed, State::ForcedOpen, State::Disabled].map(|it| metrics.breakers_in(it))
    }

    /// No other unit test reads metrics.
    #[test]
    fn a_breaker_waits_for_its_first_call_or_a_reader_and_nothing_is_lost() {
        let [called, by_hand, quiet] =
            ["called", "of one name", "of one name"].map(|name| Breaker::builder(name).build());
        let [called, by_hand, quiet] = [called.unwrap(), by_hand.unwrap(), quiet.unwrap()];
        by_hand.force_open();
        by_hand.disable();
        let is_waiting = |breaker: &Breaker| breaker.cell().waits_for_call();
        assert!([&called, &by_hand, &quiet].into_iter().all(is_waiting));
        called.try_acquire().unwrap().success();
        assert!(!is_waiting(&called) && is_waiting(&by_hand) && is_waiting(&quiet));

        let snapshot = by_hand.snapshot();
        let restored = Breaker::builder("restored").restore(snapshot).build().unwrap();
        assert!(is_waiting(&restored));

        let metrics = quiet.metrics().unwrap();
        assert!(!is_waiting(&by_hand), "the two are counted together");
        assert_eq!(states(&metrics), [1, 0, 1]);
        assert!(metrics.time_in(State::Closed) > Duration::ZERO);
        let step = |from, to| TransitionCount { from, to, reason: Reason::Manual, count: 1 };
        let steps =
            [step(State::Closed, State::ForcedOpen), step(State::ForcedOpen, State::Disabled)];
        assert_eq!(metrics.transitions, steps);
        assert_eq!(called.metrics().unwrap().calls.success, 1);

        // A machine that is busy may be slower than a build is.
        let as_if_built = restored.metrics().unwrap();
        assert_eq!(states(&as_if_built), [0, 0, 1]);
        let (from, to, reason) = (State::Closed, State::Disabled, Reason::Restored);
        assert_eq!(as_if_built.transitions, [TransitionCount { from, to, reason, count: 1 }]);
        assert!(as_if_built.time_in(State::Disabled) > Duration::ZERO);

        let later = Breaker::builder("of one name").build().unwrap();
        assert!(!is_waiting(&later), "the numbers are read");
        assert_eq!(states(&quiet.metrics().unwrap()), [2, 0, 1]);
        drop(by_hand);
        assert_eq!(states(&quiet.metrics().unwrap()), [2, 0, 0]);
    }
}
