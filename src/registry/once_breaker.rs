//! A breaker of a registry that the first caller makes.

use self::once::Once;
use crate::sync::{
    AtomicU64,
    Ordering::{Acquire, Release},
};

/// The place of one breaker, which the first caller fills. Meanwhile the others wait.
pub(super) struct OnceBreaker<B> {
    breaker: Once<B>,
    /// 1 once the breaker has been restored from its store, or the time for that is over.
    is_restored: AtomicU64,
}

impl<B> Default for OnceBreaker<B> {
    fn default() -> Self {
        Self { breaker: Once::new(), is_restored: AtomicU64::new(0) }
    }
}

impl<B: Clone> OnceBreaker<B> {
    /// The breaker, once it has been restored.
    pub(super) fn get(&self) -> Option<B> {
        if self.is_restored() { self.breaker.get() } else { None }
    }

    /// The breaker, restored or not. If there is none, it is made: that must not wait, nor run code
    /// of users.
    pub(super) fn get_or_fill(&self, make: impl FnOnce() -> B) -> B {
        self.breaker.get_or_fill(make)
    }

    /// The breaker, restored or not.
    pub(super) fn filled(&self) -> Option<B> {
        self.breaker.get()
    }

    pub(super) fn is_restored(&self) -> bool {
        self.is_restored.load(Acquire) == 1
    }

    pub(super) fn set_restored(&self) {
        self.is_restored.store(1, Release);
    }
}

#[cfg(not(tower_breaker_loom))]
mod once {
    use std::sync::OnceLock;

    pub(super) struct Once<T>(OnceLock<T>);

    impl<T> Once<T> {
        pub(super) const fn new() -> Self {
            Self(OnceLock::new())
        }
    }

    impl<T: Clone> Once<T> {
        pub(super) fn get(&self) -> Option<T> {
            self.0.get().cloned()
        }

        pub(super) fn get_or_fill(&self, make: impl FnOnce() -> T) -> T {
            self.0.get_or_init(make).clone()
        }
    }
}

/// What `OnceLock` promises, for the models.
#[cfg(tower_breaker_loom)]
mod once {
    use crate::sync::{Mutex, lock};

    pub(super) struct Once<T>(Mutex<Option<T>>);

    impl<T> Once<T> {
        pub(super) fn new() -> Self {
            Self(Mutex::new(None))
        }
    }

    impl<T: Clone> Once<T> {
        pub(super) fn get(&self) -> Option<T> {
            lock(&self.0).clone()
        }

        pub(super) fn get_or_fill(&self, make: impl FnOnce() -> T) -> T {
            lock(&self.0).get_or_insert_with(make).clone()
        }
    }
}
