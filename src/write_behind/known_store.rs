//! A store, and what it says of itself.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::store::StateStore;

/// A store that has said what it is.
///
/// It is asked when it is given to a builder, and not when a breaker joins it: that may be with
/// locks held, and a store is code of users.
#[derive(Clone)]
pub(crate) struct KnownStore {
    pub(super) store: Arc<dyn StateStore>,
    /// The same for all handles of one storage.
    pub(super) id: usize,
    /// The value of the label `store` in metrics.
    pub(super) label: Arc<str>,
    /// Whether it removes by itself what has expired.
    pub(super) expires_by_itself: bool,
    /// Whether what has expired has to be looked for.
    pub(super) needs_sweep: bool,
}

impl KnownStore {
    pub(crate) fn new(store: impl StateStore) -> Self {
        Self::shared(Arc::new(store))
    }

    pub(super) fn shared(store: Arc<dyn StateStore>) -> Self {
        let (id, label) = (store.id(), store.label().into());
        let expires = AssertUnwindSafe(|| store.expires_by_itself());
        let sweeps = AssertUnwindSafe(|| store.needs_sweep());
        let expires_by_itself = catch_unwind(expires).unwrap_or(false);
        let needs_sweep = catch_unwind(sweeps).unwrap_or(true);
        Self { store, id, label, expires_by_itself, needs_sweep }
    }
}
