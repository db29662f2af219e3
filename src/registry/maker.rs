//! What the breakers of a registry are built from.

use std::sync::Arc;

use super::{
    by_name::Make,
    environment::Environment,
    events::{EventGate, Hub},
    settings::Settings,
};
use crate::{
    handle::{AfterBuild, Breaker},
    write_behind::LONGEST_LOAD,
};

/// Everything but their settings, which can change.
pub(super) struct Maker {
    pub(super) environment: Environment,
    pub(super) hub: Arc<Hub>,
}

/// What is left to do for a new breaker.
pub(super) struct Rest {
    breaker: Breaker,
    after_build: Option<AfterBuild>,
    gate: Arc<EventGate>,
}

impl Make for Maker {
    type Breaker = Breaker;
    type Settings = Settings;
    type Rest = Rest;

    fn make(&self, name: &str, settings: &Settings) -> (Breaker, Rest) {
        let (builder, gate) = self.environment.builder(name, settings.get(name), &self.hub);
        let (breaker, after_build) = builder.restore_later().build_under_lock();
        (breaker.clone(), Rest { breaker, after_build: Some(after_build), gate })
    }

    fn begin(&self, rest: &mut Rest) {
        if let Some(after_build) = rest.after_build.take() {
            after_build.run();
        }
        if self.environment.is_shared() {
            // The state of the fleet replaces what was restored.
            rest.breaker.wait_for_restore(LONGEST_LOAD);
            rest.breaker.share();
        }
    }

    fn await_restore(&self, breaker: &Breaker) {
        breaker.wait_for_restore(LONGEST_LOAD);
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
