//! Write-behind: from breakers to their store, and the way back at the start.
//!
//! One thread for each store does everything that touches it. Breakers leave word that they have
//! changed, and the thread comes for their newest state; so what waits to be written is never
//! more than one mark a breaker, however slow the store is, and a store that hangs holds up
//! nobody but that thread.
//!
//! # Locks
//!
//! A breaker marks itself under its own lock, so the writer never holds its queue's lock while it
//! asks a breaker for anything.

mod attachment;
mod entry;
mod health;
mod queue;
mod writer;

use std::time::Duration;

pub use self::{attachment::FlushError, health::StoreHealth};
pub(crate) use self::{
    attachment::{Attachment, Marker},
    entry::{RestoreError, Source},
};

/// How the writing thread goes about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// How long changes of the counts are gathered before they are saved.
    pub(crate) flush_interval: Duration,
    /// How long `build` waits for the store's answer, and a drop for its last save.
    pub(crate) patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { flush_interval: Duration::from_secs(1), patience: Duration::from_secs(1) }
    }
}

/// The key of a breaker's snapshot.
pub(crate) fn state_key(name: &str) -> String {
    format!("circuit_breaker:{name}:state")
}

/// The key under which a snapshot is kept that could not be read.
pub(crate) fn quarantine_key(name: &str) -> String {
    format!("circuit_breaker:{name}:quarantine")
}
