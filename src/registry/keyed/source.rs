//! What all breakers of a group are built from.

use std::sync::Arc;

use super::{hashed::HashedRef, key_labels::KeyLabels, max_open::MaxOpen};
#[cfg(feature = "redis")]
use crate::fleet::RedisFleet;
use crate::{
    breaker::nesting::key_mark::KeyMark,
    clock::TimeSource,
    config::{Config, ConfigError, Trip},
    handle::{Breaker, BreakerBuilder},
    registry::events::{Gate, Hub},
    write_behind::KnownStore,
};

/// Everything but their settings, which can change.
pub(super) struct Source {
    pub(super) store: Option<KnownStore>,
    #[cfg(feature = "redis")]
    pub(super) fleet: Option<RedisFleet>,
    pub(super) clock: TimeSource,
    pub(super) hub: Arc<Hub>,
    pub(super) labels: KeyLabels,
    pub(super) max_open: Option<Arc<MaxOpen>>,
}

impl Source {
    /// Whether a key may be without a breaker until its first failure.
    pub(super) fn can_wait(&self, config: &Config) -> bool {
        needs_only_failures(config) && !self.labels.are_by_key() && !self.is_shared()
    }

    /// Whether each key's breaker is that of a fleet.
    #[cfg(feature = "redis")]
    fn is_shared(&self) -> bool {
        self.fleet.is_some()
    }

    #[cfg(not(feature = "redis"))]
    #[expect(clippy::unused_self, reason = "the other one uses it")]
    fn is_shared(&self) -> bool {
        false
    }

    /// Whether breakers can have these settings.
    #[cfg_attr(not(feature = "redis"), expect(clippy::unused_self, reason = "the fleet decides"))]
    pub(super) fn validate(&self, config: &Config) -> Result<(), ConfigError> {
        config.validate()?;
        #[cfg(feature = "redis")]
        if let Some(fleet) = &self.fleet {
            fleet.counts().validate(config)?;
        }
        Ok(())
    }

    /// A builder, and the gate that holds back the events of the breaker until it is opened. The
    /// breaker for keys without one of their own has no key.
    pub(super) fn build(
        &self,
        name: &str,
        key: Option<HashedRef<'_>>,
        config: &Arc<Config>,
    ) -> (BreakerBuilder, Arc<Gate>) {
        let gate = Arc::new(Gate::new(Arc::clone(&self.hub)));
        let listener = Arc::clone(&gate);
        let mut builder = Breaker::builder(name)
            .config(Arc::clone(config))
            .counted_with_group(&self.labels.group, self.labels.of(key.map(|key| key.text)))
            .on_event_instead_of_log(move |event| listener.pass(event));
        builder.clock = self.clock.clone();
        builder.store.clone_from(&self.store);
        // What the keys without room have in common is no key of another replica.
        #[cfg(feature = "redis")]
        if key.is_some() {
            builder.fleet.clone_from(&self.fleet);
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
