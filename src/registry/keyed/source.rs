//! What all breakers of a group are built from.

use std::sync::Arc;

use super::{hashed::HashedRef, key_labels::KeyLabels, max_open::MaxOpen};
use crate::{
    breaker::nesting::key_mark::KeyMark,
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
        let hash = key.map(|key| key.hash);
        builder.key_mark = hash.map(KeyMark::of).unwrap_or_default();
        builder.open_slot = self.max_open.as_ref().map(|max_open| max_open.slot(hash));
        (builder, gate)
    }
}
