//! Without the feature `metrics`, nothing is recorded.

use std::time::Duration;

use crate::outcome::CallEnd;

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

/// Where the calls of a breaker are counted: nowhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MeterSlot;

impl MeterSlot {
    pub(crate) const OFF: Self = Self;
}

pub(crate) struct CellMeter;

#[expect(clippy::unused_self, reason = "the recording implementation uses it")]
impl CellMeter {
    pub(crate) const fn off() -> Self {
        Self
    }

    pub(crate) fn start(&self, _: MeterSlot, _: u64) {}

    pub(crate) fn stop(&self) {}

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        false
    }

    #[inline]
    pub(crate) fn is_on_since(&self, _: u64) -> bool {
        false
    }

    #[inline]
    pub(crate) fn waits(&self) -> bool {
        false
    }

    pub(crate) fn assign(&self, _: MeterSlot) {}

    #[inline]
    pub(crate) fn count_on_own_line(&self, _: CallEnd) -> bool {
        true
    }

    pub(crate) fn count(&self, _: CallEnd, _: impl FnOnce() -> Option<Duration>) {}
}

pub(crate) fn quarantined(_: &str, _: &str) {}

#[cfg(feature = "redis")]
pub(crate) fn fleet_joined(_: bool) {}

#[cfg(feature = "redis")]
pub(crate) fn fleet_replicas(_: u64) {}
