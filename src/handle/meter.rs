//! A breaker's part of the metrics. Without the feature `metrics`, nothing.

#[cfg(feature = "metrics")]
use std::sync::{Arc, Mutex};

#[cfg(feature = "metrics")]
use smol_str::SmolStr;

use crate::{breaker::effects::EndCounts, event::Transition, metrics::MeterSlot};
#[cfg(feature = "metrics")]
use crate::{
    config::CallMetrics,
    metrics::{BreakerMeter, BreakerMetrics, Counted, StatsSource},
    state::State,
    sync::std_lock,
};

/// Counts until the breaker ends.
#[cfg(feature = "metrics")]
pub(super) struct Meter {
    counting: Mutex<Option<BreakerMeter>>,
    /// What the breaker is counted with. Boxed, because most are counted by their names: `None`.
    group: Option<Box<Counted>>,
}

#[cfg(feature = "metrics")]
impl Meter {
    pub(super) fn new(call_metrics: CallMetrics, group: Option<Counted>) -> Self {
        let meter = Self { counting: Mutex::default(), group: group.map(Box::new) };
        let (_, none) = meter.set(call_metrics, State::Closed);
        drop(none);
        meter
    }

    /// Counts what these settings say from now on, of a breaker in this state. Returns where calls
    /// are counted, and what has ended, which is dropped without the breaker's lock.
    pub(super) fn set(
        &self,
        call_metrics: CallMetrics,
        state: State,
    ) -> (MeterSlot, Option<BreakerMeter>) {
        let mut counting = std_lock(&self.counting);
        if call_metrics == CallMetrics::Off {
            return (MeterSlot::OFF, counting.take());
        }
        let state = self.is_breaker().then_some(state);
        let measures = call_metrics == CallMetrics::Durations;
        let meter = counting.get_or_insert_with(|| BreakerMeter::new(state, measures));
        (meter.set_measures(measures), None)
    }

    pub(super) fn slot(&self) -> MeterSlot {
        std_lock(&self.counting).as_ref().map_or(MeterSlot::OFF, |_| MeterSlot::WAITING)
    }

    /// Whether it is a breaker of its own, and does not count for others.
    pub(super) fn is_breaker(&self) -> bool {
        self.group.as_deref().is_none_or(Counted::is_breaker)
    }

    pub(super) fn begin(&self, name: &SmolStr, source: &Arc<dyn StatsSource>) -> MeterSlot {
        let mut meter = std_lock(&self.counting);
        let begin = |meter: &mut BreakerMeter| meter.begin(name, self.group.as_deref(), source);
        meter.as_mut().map_or(MeterSlot::OFF, begin)
    }

    fn with(&self, work: impl FnOnce(&mut BreakerMeter)) {
        if let Some(meter) = &mut *std_lock(&self.counting) {
            work(meter);
        }
    }

    pub(super) fn read(&self) -> Option<BreakerMetrics> {
        // Not with the lock: the breaker is asked, and may have something to record here.
        let read = std_lock(&self.counting).as_ref().and_then(BreakerMeter::reader)?;
        Some(read())
    }

    pub(super) fn record_transitions(&self, transitions: &[Transition]) {
        self.with(|meter| meter.record_transitions(transitions));
    }

    pub(super) fn count(&self, counts: EndCounts) {
        let EndCounts { slow, probe, unfinished_probes } = counts;
        self.with(|meter| meter.count(slow, probe, unfinished_probes));
    }

    /// The breaker is gone.
    pub(super) fn end(&self) {
        let meter = std_lock(&self.counting).take();
        drop(meter);
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

        let metrics = quiet.metrics().unwrap();
        assert!(!is_waiting(&by_hand), "the two are counted together");
        assert_eq!(states(&metrics), [1, 0, 1]);
        assert!(metrics.time_in(State::Closed) > Duration::ZERO);
        let step = |from, to| TransitionCount { from, to, reason: Reason::Manual, count: 1 };
        let steps =
            [step(State::Closed, State::ForcedOpen), step(State::ForcedOpen, State::Disabled)];
        assert_eq!(metrics.transitions, steps);
        assert_eq!(called.metrics().unwrap().calls.success, 1);

        let later = Breaker::builder("of one name").build().unwrap();
        assert!(!is_waiting(&later), "somebody reads");
        assert_eq!(states(&quiet.metrics().unwrap()), [2, 0, 1]);
        drop(by_hand);
        assert_eq!(states(&quiet.metrics().unwrap()), [2, 0, 0]);
    }
}
