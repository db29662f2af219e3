//! A breaker's part of the metrics. Without the feature `metrics`, nothing.

#[cfg(feature = "metrics")]
use std::sync::{Arc, Mutex};

use crate::{breaker::effects::EndCounts, event::Transition, metrics::MeterSlot};
#[cfg(feature = "metrics")]
use crate::{
    metrics::{BreakerMeter, BreakerMetrics, Counted, StatsSource},
    sync::std_lock,
};

/// Counts until the breaker ends.
#[cfg(feature = "metrics")]
pub(super) struct Meter(Mutex<Option<Box<BreakerMeter>>>);

#[cfg(feature = "metrics")]
impl Meter {
    pub(super) fn begin(counted: Option<Counted>) -> Self {
        Self(Mutex::new(counted.map(|counted| Box::new(BreakerMeter::begin(counted)))))
    }

    pub(super) fn slot(&self) -> MeterSlot {
        MeterSlot::of(std_lock(&self.0).as_deref())
    }

    fn with(&self, work: impl FnOnce(&BreakerMeter)) {
        if let Some(meter) = std_lock(&self.0).as_deref() {
            work(meter);
        }
    }

    pub(super) fn ask(&self, source: &Arc<dyn StatsSource>) {
        self.with(|meter| meter.ask(source));
    }

    pub(super) fn read(&self) -> Option<BreakerMetrics> {
        // Not with the lock: the breaker is asked, and may have something to record here.
        let read = std_lock(&self.0).as_deref().map(BreakerMeter::reader)?;
        Some(read())
    }

    pub(super) fn record_transitions(&self, transitions: &[Transition]) {
        self.with(|meter| meter.record_transitions(transitions));
    }

    pub(super) fn count(&self, counts: EndCounts) {
        let EndCounts { slow, probe, unfinished_probes } = counts;
        self.with(|meter| {
            if slow {
                meter.count_slow_call();
            }
            if let Some(end) = probe {
                meter.count_probe(end, slow);
            }
            if unfinished_probes > 0 {
                meter.count_unfinished_probes(unfinished_probes);
            }
        });
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
    pub(super) fn slot(&self) -> MeterSlot {
        MeterSlot::OFF
    }

    pub(super) fn record_transitions(&self, _: &[Transition]) {}

    pub(super) fn count(&self, _: EndCounts) {}

    pub(super) fn end(&self) {}
}
