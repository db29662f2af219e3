//! A store, and what it says of itself.

use std::sync::Arc;

use crate::{store::StateStore, sync::caught};

/// A store that has said what it is.
///
/// It is asked when it is given to a builder, and not when a breaker joins it: that may be with
/// locks held, and a store is user code.
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
        // A store that panics is one that says nothing of itself.
        let address = Arc::as_ptr(&store).cast::<()>().addr();
        let id = ask(|| store.id(), address);
        let label = ask(|| Arc::from(store.label()), Arc::from("custom"));
        let expires_by_itself = ask(|| store.expires_by_itself(), false);
        let needs_sweep = ask(|| store.needs_sweep(), true);
        Self { store, id, label, expires_by_itself, needs_sweep }
    }
}

fn ask<T>(question: impl FnOnce() -> T, otherwise: T) -> T {
    caught(question).unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use super::KnownStore;
    use crate::store::{SaveEntry, StateStore, StoreError};

    struct Panics;

    impl StateStore for Panics {
        fn load(&self, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
            Ok(None)
        }

        fn load_page(
            &self,
            _: Option<&str>,
            _: usize,
        ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
            Ok(Vec::new())
        }

        fn save(&self, _: &SaveEntry) -> Result<(), StoreError> {
            Ok(())
        }

        fn delete(&self, _: &str) -> Result<(), StoreError> {
            Ok(())
        }

        fn id(&self) -> usize {
            panic!("no id")
        }

        fn label(&self) -> &str {
            panic!("no label")
        }

        fn needs_sweep(&self) -> bool {
            panic!("no idea")
        }
    }

    #[test]
    fn a_store_that_panics_when_asked_what_it_is_gets_the_defaults() {
        let (one, other) = (KnownStore::new(Panics), KnownStore::new(Panics));
        assert_ne!(one.id, other.id);
        assert_eq!(&*one.label, "custom");
        assert!(one.needs_sweep && !one.expires_by_itself);
    }
}
