//! What all breakers of a group are built from.

use std::sync::Arc;

use super::max_open::MaxOpen;
use crate::{
    clock::TimeSource,
    config::Config,
    handle::{Breaker, BreakerBuilder},
    registry::events::{Gate, Hub},
    store::StateStore,
};

/// Everything but their settings, which can change.
pub(super) struct Source {
    pub(super) store: Option<Arc<dyn StateStore>>,
    pub(super) clock: TimeSource,
    pub(super) hub: Arc<Hub>,
    pub(super) max_open: Option<Arc<MaxOpen>>,
}

impl Source {
    /// A builder, and the gate that holds back the events of the breaker until it is opened.
    pub(super) fn build(&self, name: &str, config: &Arc<Config>) -> (BreakerBuilder, Arc<Gate>) {
        let gate = Arc::new(Gate::new(Arc::clone(&self.hub)));
        let listener = Arc::clone(&gate);
        let mut builder = Breaker::builder(name)
            .config(Arc::clone(config))
            .on_event(move |event| listener.pass(event));
        builder.clock = self.clock.clone();
        builder.store.clone_from(&self.store);
        builder.open_limit = self.max_open.clone().map(|max_open| max_open as _);
        (builder, gate)
    }
}
