//! What the breakers of a registry and those of a group are built with, besides their settings.

use std::sync::Arc;

use super::events::{EventGate, Hub};
#[cfg(feature = "redis")]
use crate::fleet::RedisFleet;
use crate::{
    clock::TimeSource,
    config::{Config, Faults},
    handle::{Breaker, BreakerBuilder},
    write_behind::KnownStore,
};

/// Where breakers keep their state, with whom they share it, and where they read the time.
#[derive(Default)]
pub(super) struct Environment {
    pub(super) store: Option<KnownStore>,
    #[cfg(feature = "redis")]
    pub(super) fleet: Option<RedisFleet>,
    pub(super) clock: TimeSource,
}

impl Environment {
    /// Whether the breakers are those of a fleet.
    #[cfg(feature = "redis")]
    pub(super) fn is_shared(&self) -> bool {
        self.fleet.is_some()
    }

    #[cfg(not(feature = "redis"))]
    #[expect(clippy::unused_self, reason = "the other one uses it")]
    pub(super) fn is_shared(&self) -> bool {
        false
    }

    /// Adds a fault for each of these settings that breakers here cannot have.
    #[cfg_attr(not(feature = "redis"), expect(clippy::unused_self, reason = "the fleet decides"))]
    pub(super) fn check(&self, config: &Config, path: &str, faults: &mut Faults) {
        config.check(path, faults);
        #[cfg(feature = "redis")]
        if let Some(fleet) = &self.fleet {
            fleet.counts().check(config, path, faults);
        }
    }

    /// A builder, and the gate that holds back the events of the breaker until it is opened.
    pub(super) fn builder(
        &self,
        name: &str,
        config: &Arc<Config>,
        hub: &Arc<Hub>,
    ) -> (BreakerBuilder, Arc<EventGate>) {
        let gate = Arc::new(EventGate::new(Arc::clone(hub)));
        let listener = Arc::clone(&gate);
        let mut builder = Breaker::builder(name)
            .config(Arc::clone(config))
            .on_event_instead_of_log(move |event| listener.pass(event));
        builder.store.clone_from(&self.store);
        #[cfg(feature = "redis")]
        builder.fleet.clone_from(&self.fleet);
        builder.clock = self.clock.clone();
        (builder, gate)
    }
}
