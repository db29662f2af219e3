//! Without the feature `metrics`, nothing is recorded.

pub(crate) const ENABLED: bool = false;

#[derive(PartialEq, Eq)]
pub(crate) struct StoreMetrics {
    label: Box<str>,
}

impl StoreMetrics {
    pub(crate) fn new(label: &str) -> Self {
        Self { label: label.into() }
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    #[expect(clippy::unused_self, reason = "the recording implementation uses it")]
    pub(crate) fn record_write<T, E>(&self, write: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        write()
    }

    #[expect(clippy::unused_self, reason = "the recording implementation uses it")]
    pub(crate) fn record_gauges(&self, _: impl FnOnce() -> (bool, usize)) {}
}

pub(crate) fn quarantined(_: &str, _: &str) {}

#[cfg(feature = "redis")]
pub(crate) fn fleet_joined(_: bool) {}
