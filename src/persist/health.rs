//! How the store is, as a value.

use std::{error::Error, fmt, time::SystemTime};

/// How a breaker's store is doing. A breaker works the same either way; what differs is what a restart finds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreHealth {
    /// There is none: the state is in memory only.
    NoStore,
    /// The store did all that it was asked.
    Healthy,
    /// The store failed, does not answer, or does not take the state of some breaker: others are saved all the
    /// same then. Breakers go on in memory, and it is tried again and again.
    #[non_exhaustive]
    Degraded {
        /// When it began, by the wall clock.
        since: SystemTime,
        /// What is wrong now.
        reason: String,
        /// Breakers on this store whose newest state is not saved.
        pending: usize,
    },
}

impl StoreHealth {
    /// Whether there is a store, and it did all that it was asked.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        matches!(self, Self::Healthy)
    }
}

impl fmt::Display for StoreHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStore => f.write_str("none"),
            Self::Healthy => f.write_str("healthy"),
            Self::Degraded { reason, pending, .. } => {
                write!(f, "degraded, {pending} not saved: {reason}")
            }
        }
    }
}

/// Why the newest state of a breaker was not saved. The breaker itself is not affected, and unless it says
/// otherwise, the state will be saved as soon as that is possible.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlushError {
    /// The store failed, or does not answer, for this reason.
    #[non_exhaustive]
    NotSaved {
        /// What the store said.
        reason: String,
    },
    /// It was not saved within the time given.
    TimedOut,
    /// The store holds a snapshot of this breaker that a newer release of this crate wrote. It is not
    /// overwritten, so this breaker's state is kept in memory only: go back to the newer release, or delete the
    /// snapshot.
    #[non_exhaustive]
    NewerSnapshot {
        /// The version of the snapshot.
        version: u64,
    },
}

impl FlushError {
    pub(super) fn not_saved(reason: impl Into<String>) -> Self {
        Self::NotSaved { reason: reason.into() }
    }
}

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSaved { reason } => {
                write!(f, "the breaker's state is not saved yet: {reason}")
            }
            Self::TimedOut => {
                f.write_str("the breaker's state was not saved within the time given")
            }
            Self::NewerSnapshot { version } => write!(
                f,
                "the breaker's state is not saved, so as not to overwrite a snapshot of version {version} that a \
                 newer release wrote: go back to that release, or delete the snapshot",
            ),
        }
    }
}

impl Error for FlushError {}
