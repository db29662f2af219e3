//! A breaker's part of the metrics. Without the feature `metrics`, nothing.

#[cfg(feature = "metrics")]
use std::sync::{Arc, Mutex};

#[cfg(feature = "metrics")]
use smol_str::SmolStr;

use crate::{breaker::effects::EndCounts, event::Transition, metrics::MeterSlot};
#[cfg(feature = "metrics")]
use crate::{
    metrics::{BreakerMeter, BreakerMetrics, Counted, StatsSource},
    sync::std_lock,
};

/// Counts until the breaker ends.
#[cfg(feature = "metrics")]
pub(super) struct Meter(Mutex<Option<BreakerMeter>>);

#[cfg(feature = "metrics")]
impl Meter {
    pub(super) const OFF: Self = Self(Mutex::new(None));

    /// Waits for the first call of the breaker. Without a group, it is counted by its name.
    pub(super) fn new(group: Option<Counted>) -> Self {
        Self(Mutex::new(Some(BreakerMeter::new(group))))
    }

    pub(super) fn slot(&self) -> MeterSlot {
        std_lock(&self.0).as_ref().map_or(MeterSlot::OFF, |_| MeterSlot::WAITING)
    }

    pub(super) fn begin(&self, name: &SmolStr, source: &Arc<dyn StatsSource>) -> MeterSlot {
        let mut meter = std_lock(&self.0);
        meter.as_mut().map_or(MeterSlot::OFF, |meter| meter.begin(name, source))
    }

    fn with(&self, work: impl FnOnce(&mut BreakerMeter)) {
        if let Some(meter) = &mut *std_lock(&self.0) {
            work(meter);
        }
    }

    pub(super) fn read(&self) -> Option<BreakerMetrics> {
        // Not with the lock: the breaker is asked, and may have something to record here.
        let read = std_lock(&self.0).as_ref().and_then(BreakerMeter::reader)?;
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
        let meter = std_lock(&self.0).take();
        drop(meter);
    }
}

#[cfg(not(feature = "metrics"))]
pub(super) struct Meter;

#[cfg(not(feature = "metrics"))]
#[expect(clippy::unused_self, reason = "with the feature, it is used")]
impl Meter {
    pub(super) const OFF: Self = Self;

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
