//! A recorder for the metrics facade that keeps all values.
#![allow(dead_code, reason = "no binary uses all of it")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

/// A label that contains this makes the recorder panic.
pub(crate) const PANICS: &str = "the recorder panics";

/// A label that contains this makes the recorder panic at gauges.
pub(crate) const PANICS_AT_GAUGES: &str = "the gauge panics";

#[derive(Clone, Default)]
pub(crate) struct Recorded(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    /// By name and labels, as in `name{label="value"}`: every value of a gauge or a histogram, and
    /// every sum of a counter.
    values: BTreeMap<String, Vec<f64>>,
    descriptions: BTreeMap<String, (Option<Unit>, String)>,
}

impl Recorded {
    /// Installs the recorder, which works once in a process.
    pub(crate) fn install() -> Self {
        let recorded = Self::default();
        assert!(
            metrics::set_global_recorder(recorded.clone()).is_ok(),
            "a recorder is installed already"
        );
        recorded
    }

    /// The value of a gauge or a counter: `value("healthy", "store=\"a\"")`.
    pub(crate) fn value(&self, name: &str, labels: &str) -> Option<f64> {
        self.values(name, labels).last().copied()
    }

    /// Every value of a gauge or a histogram, and every sum of a counter.
    pub(crate) fn values(&self, name: &str, labels: &str) -> Vec<f64> {
        let key = format!("circuit_breaker_store_{name}{{{labels}}}");
        self.content().values.get(&key).cloned().unwrap_or_default()
    }

    /// The value of the gauge or counter with this key: `circuit_breaker_state{name="a"}`.
    pub(crate) fn of(&self, key: &str) -> Option<f64> {
        self.content().values.get(key)?.last().copied()
    }

    /// The keys of all values that contain this text.
    pub(crate) fn keys(&self, part: &str) -> Vec<String> {
        let content = self.content();
        content.values.keys().filter(|key| key.contains(part)).cloned().collect()
    }

    /// The description and unit of each metric.
    pub(crate) fn descriptions(&self) -> BTreeMap<String, (Option<Unit>, String)> {
        self.content().descriptions.clone()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>, text: &SharedString) {
        self.content().descriptions.insert(name.as_str().to_owned(), (unit, text.to_string()));
    }

    fn register(&self, key: &Key) -> Arc<Cell> {
        let labels: Vec<_> =
            key.labels().map(|label| format!("{}={:?}", label.key(), label.value())).collect();
        let key = format!("{}{{{}}}", key.name(), labels.join(","));
        assert!(!key.contains(PANICS), "this test provokes a panic");
        Arc::new(Cell { key, recorded: self.clone() })
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe(&name, unit, &text);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe(&name, unit, &text);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe(&name, unit, &text);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.register(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let is_good = key.labels().all(|label| !label.value().contains(PANICS_AT_GAUGES));
        assert!(is_good, "this test provokes a panic");
        Gauge::from_arc(self.register(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.register(key))
    }
}

struct Cell {
    key: String,
    recorded: Recorded,
}

impl Cell {
    fn push(&self, next: impl FnOnce(f64) -> f64) {
        let mut content = self.recorded.content();
        let values = content.values.entry(self.key.clone()).or_default();
        values.push(next(values.last().copied().unwrap_or_default()));
    }
}

impl CounterFn for Cell {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn increment(&self, value: u64) {
        self.push(|sum| sum + value as f64);
    }

    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn absolute(&self, value: u64) {
        self.push(|sum| sum.max(value as f64));
    }
}

impl GaugeFn for Cell {
    fn increment(&self, value: f64) {
        self.push(|sum| sum + value);
    }

    fn decrement(&self, value: f64) {
        self.push(|sum| sum - value);
    }

    fn set(&self, value: f64) {
        self.push(|_| value);
    }
}

impl HistogramFn for Cell {
    fn record(&self, value: f64) {
        self.push(|_| value);
    }
}
