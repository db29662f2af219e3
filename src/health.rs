//! The health of a breaker's store, as a value.

use std::{fmt, time::SystemTime};

/// The health of a breaker's store. Calls are not affected by it; what differs is how much a
/// restart finds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreHealth {
    /// The breaker has no store: its state is in memory only.
    NoStore,
    /// The store works.
    Healthy,
    /// The store works again after it moved damaged files aside, so some of what was stored may be
    /// missing. It stays like this until the store is opened again.
    #[non_exhaustive]
    Repaired {
        /// What was last moved where, and why.
        what: String,
    },
    /// The store fails, does not answer, or cannot save the state of some breaker. Breakers
    /// continue in memory, and the store is retried until it works again.
    #[non_exhaustive]
    Degraded {
        /// When it began, by the wall clock.
        since: SystemTime,
        /// What is wrong now.
        reason: String,
        /// The number of breakers on this store whose newest state is not saved.
        pending: usize,
    },
    /// A breaker of the same name was built on this store later. It has taken over the state and is
    /// the one that is saved; this one continues in memory, until the other is dropped. To share
    /// one breaker, clone the handle; or else use different names.
    #[non_exhaustive]
    Superseded {
        /// When the other was built, by the wall clock.
        since: SystemTime,
    },
}

impl StoreHealth {
    /// Whether there is a store and it is degraded.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        matches!(self, Self::Degraded { .. })
    }

    /// Whether nothing is wrong: the breaker is saved and the store works, or there is no store.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        !self.is_degraded() && !matches!(self, Self::Superseded { .. })
    }
}

impl fmt::Display for StoreHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStore => f.write_str("no store"),
            Self::Healthy => f.write_str("healthy"),
            Self::Repaired { what } => write!(f, "healthy after a repair: {what}"),
            Self::Degraded { reason, pending, .. } => {
                write!(f, "degraded, {pending} unsaved: {reason}")
            }
            Self::Superseded { .. } => {
                f.write_str("not saved: a newer circuit breaker with this name is saved instead")
            }
        }
    }
}
