//! What the breakers of a registry are built from.

use std::{sync::Arc, time::Duration};

use super::{
    by_name::Make,
    events::{Gate, Hub},
    settings::Settings,
};
#[cfg(feature = "redis")]
use crate::fleet::RedisFleet;
use crate::{
    clock::TimeSource,
    config::{ConfigError, Faults},
    handle::{AfterBuild, Breaker},
    write_behind::KnownStore,
};

/// How long a caller waits until the store has been read.
const RESTORE_WAIT: Duration = Duration::from_secs(1);

/// Everything but their settings, which can change.
pub(super) struct Maker {
    pub(super) store: Option<KnownStore>,
    #[cfg(feature = "redis")]
    pub(super) fleet: Option<RedisFleet>,
    pub(super) clock: TimeSource,
    pub(super) hub: Arc<Hub>,
}

impl Maker {
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
    pub(super) fn check(&self, settings: &Settings) -> Result<(), ConfigError> {
        let mut faults = Faults::default();
        settings.check(&mut faults);
        #[cfg(feature = "redis")]
        if let Some(fleet) = &self.fleet {
            settings.check_counts(fleet.counts(), &mut faults);
        }
        faults.into_result(())
    }
}

/// What is left to do for a new breaker.
pub(super) struct Rest {
    breaker: Breaker,
    after_build: Option<AfterBuild>,
    gate: Arc<Gate>,
}

impl Make for Maker {
    type Breaker = Breaker;
    type Settings = Settings;
    type Rest = Rest;

    fn make(&self, name: &str, settings: &Settings) -> (Breaker, Rest) {
        let gate = Arc::new(Gate::new(Arc::clone(&self.hub)));
        let listener = Arc::clone(&gate);
        let mut builder = Breaker::builder(name)
            .config(Arc::clone(settings.get(name)))
            .on_event_instead_of_log(move |event| listener.pass(event));
        builder.store.clone_from(&self.store);
        #[cfg(feature = "redis")]
        builder.fleet.clone_from(&self.fleet);
        builder.clock = self.clock.clone();
        let (breaker, after_build) = builder.restore_later().build_under_lock();
        (breaker.clone(), Rest { breaker, after_build: Some(after_build), gate })
    }

    fn begin(&self, rest: &mut Rest) {
        if let Some(after_build) = rest.after_build.take() {
            after_build.run();
        }
        if self.is_shared() {
            // The state of the fleet replaces what was restored.
            rest.breaker.wait_for_restore(RESTORE_WAIT);
            rest.breaker.share();
        }
    }

    fn await_restore(&self, breaker: &Breaker) {
        breaker.wait_for_restore(RESTORE_WAIT);
        breaker.wait_for_fleet();
    }

    fn apply(&self, breaker: &Breaker, new: &Settings, old: &Settings) {
        let config = new.get(breaker.name());
        if **config != **old.get(breaker.name()) {
            breaker.apply(Arc::clone(config));
        }
    }

    fn end(&self, rest: Rest) {
        rest.gate.open();
    }
}
