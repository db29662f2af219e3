//! What all breakers of a group are built from.

use std::sync::Arc;

use super::{hashed::HashedRef, key_labels::KeyLabels, max_open::MaxOpen};
use crate::{
    breaker::nesting::key_mark::KeyMark,
    config::{Config, ConfigError, Faults, Trip},
    handle::BreakerBuilder,
    registry::{
        environment::Environment,
        events::{EventGate, Hub},
    },
};

/// Everything but their settings, which can change.
pub(super) struct Source {
    pub(super) environment: Environment,
    pub(super) hub: Arc<Hub>,
    pub(super) labels: KeyLabels,
    pub(super) max_open: Option<Arc<MaxOpen>>,
}

impl Source {
    /// Whether a key may be without a breaker until its first failure.
    pub(super) fn can_wait(&self, config: &Config) -> bool {
        needs_only_failures(config) && !self.labels.are_by_key() && !self.environment.is_shared()
    }

    /// Whether breakers can have these settings.
    pub(super) fn validate(&self, config: &Config) -> Result<(), ConfigError> {
        let mut faults = Faults::default();
        self.environment.check(config, "", &mut faults);
        faults.into_result(())
    }

    /// A builder, and the gate that holds back the events of the breaker until it is opened. The
    /// breaker for keys without one of their own has no key.
    pub(super) fn build(
        &self,
        name: &str,
        key: Option<HashedRef<'_>>,
        config: &Arc<Config>,
    ) -> (BreakerBuilder, Arc<EventGate>) {
        let (builder, gate) = self.environment.builder(name, config, &self.hub);
        let label = self.labels.of(key.map(|key| key.text));
        let mut builder = builder.counted_with_group(&self.labels.group, label);
        // What the keys without room have in common is no key of another replica.
        #[cfg(feature = "redis")]
        if key.is_none() {
            builder.fleet = None;
        }
        let hash = key.map(|key| key.hash);
        builder.key_mark = hash.map(KeyMark::of).unwrap_or_default();
        builder.open_slot = self.max_open.as_ref().map(|max_open| max_open.slot(hash));
        (builder, gate)
    }
}

/// Whether successes before the first failure change nothing, nor does an abandoned call.
fn needs_only_failures(config: &Config) -> bool {
    let is_streak = |trip: &Trip| matches!(trip, Trip::ConsecutiveFailures(_));
    config.abandoned_after.is_none()
        && !config.measures_durations()
        && config.trip_on.iter().all(is_streak)
}
