//! What the breakers of a registry are built from.

use std::{sync::Arc, time::Duration};

use super::{
    by_name::Make,
    events::{Gate, Hub},
    settings::Settings,
};
use crate::{
    clock::TimeSource,
    handle::{AfterBuild, Breaker},
    write_behind::KnownStore,
};

/// How long a caller waits until the store has been read.
const RESTORE_WAIT: Duration = Duration::from_secs(1);

/// Everything but their settings, which can change.
pub(super) struct Maker {
    pub(super) store: Option<KnownStore>,
    pub(super) clock: TimeSource,
    pub(super) hub: Arc<Hub>,
}

/// What is left to do for a new breaker.
pub(super) struct Rest {
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
        builder.clock = self.clock.clone();
        let (breaker, after_build) = builder.restore_later().build_under_lock();
        (breaker, Rest { after_build: Some(after_build), gate })
    }

    fn begin(&self, rest: &mut Rest) {
        if let Some(after_build) = rest.after_build.take() {
            after_build.run();
        }
    }

    fn await_restore(&self, breaker: &Breaker) {
        breaker.wait_for_restore(RESTORE_WAIT);
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
