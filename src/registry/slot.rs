//! The place of one breaker in a registry.

use std::{
    sync::{
        OnceLock,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release},
        },
    },
    time::Duration,
};

use crate::handle::Breaker;

/// How long a caller that asks for a breaker waits until the store has been read.
const RESTORE_WAIT: Duration = Duration::from_secs(1);

/// The place of one breaker, which the first caller fills.
///
/// While it is being filled, the other callers wait, so nothing else may happen then. The wait for
/// the store comes after that, and each caller has its own: code of users that runs meanwhile, such
/// as a subscriber of the log, may ask for the breaker too.
#[derive(Default)]
pub(super) struct Slot {
    breaker: OnceLock<Breaker>,
    /// Whether the store has been read, or has had its time.
    is_restored: AtomicBool,
}

impl Slot {
    /// The breaker, once it has been restored.
    pub(super) fn get(&self) -> Option<&Breaker> {
        self.breaker.get().filter(|_| self.is_restored.load(Acquire))
    }

    /// The breaker, which is perhaps not restored. `build` must neither wait nor run code of users.
    pub(super) fn get_or_build(&self, build: impl FnOnce() -> Breaker) -> &Breaker {
        self.breaker.get_or_init(build)
    }

    /// Waits until the breaker has been restored, for a second at most.
    pub(super) fn await_restore(&self, breaker: &Breaker) {
        if !self.is_restored.load(Acquire) {
            breaker.wait_for_restore(RESTORE_WAIT);
            self.is_restored.store(true, Release);
        }
    }

    /// The breaker, restored or not.
    pub(super) fn breaker(&self) -> Option<Breaker> {
        self.breaker.get().cloned()
    }
}
