//! Without the feature `metrics`, nobody is told of anything.

use crate::store::StateStore;

pub(crate) const ENABLED: bool = false;

#[derive(PartialEq, Eq)]
pub(crate) struct StoreMetrics;

impl StoreMetrics {
    pub(crate) fn of(_: &dyn StateStore) -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "it stands for one that tells")]
    pub(crate) fn write<T, E>(&self, write: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        write()
    }

    #[expect(clippy::unused_self, reason = "it stands for one that tells")]
    pub(crate) fn tell_gauges(&self, _: impl FnOnce() -> (bool, usize)) {}
}

pub(crate) fn quarantined(_: &str, _: &str) {}
