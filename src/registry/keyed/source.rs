//! What all breakers of a group are built from.

use std::sync::Arc;

use super::{key_labels::KeyLabels, max_open::MaxOpen};
use crate::{
    clock::TimeSource,
    config::Config,
    handle::{Breaker, BreakerBuilder},
    registry::events::{Gate, Hub},
    write_behind::KnownStore,
};

/// Everything but their settings, which can change.
pub(super) struct Source {
    pub(super) store: Option<KnownStore>,
    pub(super) clock: TimeSource,
    pub(super) hub: Arc<Hub>,
    pub(super) labels: KeyLabels,
    pub(super) max_open: Option<Arc<MaxOpen>>,
}

impl Source {
    /// A builder, and the gate that holds back the events of the breaker until it is opened. The
    /// breaker for keys without one of their own has no key.
    pub(super) fn build(
        &self,
        name: &str,
        key: Option<&str>,
        config: &Arc<Config>,
    ) -> (BreakerBuilder, Arc<Gate>) {
        let gate = Arc::new(Gate::new(Arc::clone(&self.hub)));
        let listener = Arc::clone(&gate);
        let mut builder = Breaker::builder(name)
            .config(Arc::clone(config))
            .counted_with_group(&self.labels.group, self.labels.of(key))
            .on_event_instead_of_log(move |event| listener.pass(event));
        builder.clock = self.clock.clone();
        builder.store.clone_from(&self.store);
        builder.open_limit = self.max_open.clone().map(|max_open| max_open as _);
        (builder, gate)
    }
}
