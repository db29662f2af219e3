//! Write-behind: from breakers to a store, and back at the start.
//!
//! Each store has one thread, the writer, and everything that touches the store happens there: a store that is
//! slow, fails or never returns holds up that thread and nothing else. Breakers only raise marks
//! ([`Marker`]); the writer asks the breakers that are marked for their newest snapshot when it gets to write,
//! so nothing queues up behind a slow store but the marks themselves.
//!
//! # The rule of the locks
//!
//! [`Marker::transition`], [`Marker::counts`] and [`Marker::note`] may be called while a breaker's own lock is
//! held, and take the queue's lock, or that of what is to go into the breaker's history. [`Source`]'s methods take the breaker's lock. So no method of a [`Source`] is ever called while
//! a lock of this module is held.

mod attachment;
mod chores;
mod condition;
mod entry;
mod gauges;
mod names;
mod queue;
mod reading;
mod record;
mod restore;
mod roll;
mod round;
mod shelf;
mod sweep;
mod trail;
mod watch;
mod writer;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::store::{HistoryStore, StateStore, StoreError};
pub(crate) use crate::{error::FlushError, health::StoreHealth};

pub(crate) use attachment::{Attachment, Marker};

/// What the writer asks of a breaker.
pub(crate) trait Source: Send + Sync + 'static {
    /// The newest snapshot. Takes the lock under which the breaker changes what the snapshot holds: the marks
    /// rely on that for "marked before it was written" to mean "written".
    /// `None`: the breaker is gone, and with it what there was to save.
    fn encode(&self) -> Option<Encoded>;

    /// Adopts a snapshot, unless the breaker has already gone its own way.
    fn restore(&self, bytes: &[u8]) -> Result<(), RestoreError>;

    /// For how many days the breaker's history is to be kept.
    fn retention_days(&self) -> u32;

    /// Called at each change of the store's health, and once at the start if it is degraded then.
    fn store_health(&self, health: &StoreHealth);
}

/// A snapshot to save.
#[derive(Clone)]
pub(crate) struct Encoded {
    pub(crate) value: Vec<u8>,
    /// How long it is of use.
    pub(crate) ttl: Option<Duration>,
}

/// Runs `job` on the store's histories; does nothing if it keeps none.
fn with_history<T: Default>(
    store: &dyn StateStore,
    job: impl FnOnce(&dyn HistoryStore) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    store.history().map_or_else(|| Ok(T::default()), job)
}

/// Why a breaker did not adopt a snapshot.
#[derive(Debug)]
pub(crate) enum RestoreError {
    /// It cannot be read, for this reason. It is kept aside, and the breaker starts closed.
    Corrupt(String),
    /// It is of this version, newer than what this release knows. It stays as it is.
    NewerVersion(u64),
}

/// How long things may take.
#[derive(Clone, Debug)]
pub(crate) struct PersistSettings {
    /// Failure counts are saved at most this long after they changed.
    pub(crate) flush_interval: Duration,
    /// Transitions are on their way to the store at most this long after they happened.
    pub(crate) transition_flush_interval: Duration,
    /// How long the construction of a breaker waits for its snapshot.
    pub(crate) load_wait: Duration,
    /// How long the drop of a breaker waits for its last snapshot to be saved.
    pub(crate) drop_wait: Duration,
    /// When what has expired is removed from the store for the first time after it was opened, and how often
    /// from then on. The breaker decides that is the first on the store.
    pub(crate) sweep: (Duration, Duration),
}

impl Default for PersistSettings {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        let sweep = (Duration::from_secs(600), Duration::from_secs(3600));
        Self {
            flush_interval: second,
            transition_flush_interval: Duration::ZERO,
            load_wait: second,
            drop_wait: second,
            sweep,
        }
    }
}
