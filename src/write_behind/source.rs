//! What a breaker provides to be saved: the only view that this module has of one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    clock::Tick,
    health::StoreHealth,
    snapshot::{Snapshot, WindowPosition},
    state::State,
};

/// A breaker, as its store's writer sees it.
///
/// These methods take the breaker's lock. They are never called while a lock of this module is
/// held.
pub(crate) trait SnapshotSource: Send + Sync + 'static {
    /// Encodes the newest snapshot. `None` once the breaker is gone.
    ///
    /// It takes the lock under which the breaker changes its state and marks the change. This is
    /// why a change that was marked before is always part of the snapshot.
    fn encode(&self) -> Option<EncodedSnapshot>;

    /// Like [`encode`](Self::encode), but perhaps a snapshot that continues this base and holds
    /// only what is new.
    fn encode_since(&self, base: &SnapshotBase) -> Option<EncodedSnapshot> {
        let _ = base;
        self.encode()
    }

    /// Adopts a snapshot, unless the breaker already has a newer state of its own.
    fn restore(&self, bytes: &[u8]) -> Result<(), RestoreError>;

    /// Like [`restore`](Self::restore), with a snapshot that has been parsed.
    fn restore_parsed(&self, snapshot: &Snapshot) -> Result<(), RestoreError> {
        match snapshot.to_json() {
            Ok(json) => self.restore(json.as_bytes()),
            Err(error) => Err(RestoreError::unreadable(error.to_string())),
        }
    }

    /// Like [`restore`](Self::restore), with the snapshot that continues it. One that continues
    /// another is ignored.
    fn restore_continued(&self, bytes: &[u8], continuation: &[u8]) -> Result<(), RestoreError> {
        let _ = continuation;
        self.restore(bytes)
    }

    /// Adopts what a part of the store holds, until [`restore`](Self::restore) is called with what
    /// the whole of it holds. Returns whether it could be read.
    fn restore_early(&self, bytes: &[u8]) -> bool {
        let _ = bytes;
        false
    }

    /// Continues with the state of another breaker of this name in place of its own, if that
    /// [is wanted](TakeOver::is_wanted).
    fn take_over(&self, take_over: &TakeOver<'_>);

    /// Since when the breaker is gone, if this is what is left of it.
    fn gone_since(&self) -> Option<Tick> {
        None
    }

    /// The settings in force.
    fn settings(&self) -> SaveSettings;

    /// Whether there is a listener that [`store_health`](Self::store_health) would call.
    fn has_listeners(&self) -> bool {
        true
    }

    /// Reports that the store became degraded or healthy.
    fn store_health(&self, health: &StoreHealth);
}

/// A snapshot to save.
#[derive(Clone)]
pub(crate) struct EncodedSnapshot {
    pub(crate) value: Vec<u8>,
    /// How long the snapshot is valid.
    pub(crate) ttl: Option<Duration>,
    pub(crate) part: Part,
}

impl EncodedSnapshot {
    /// A snapshot that holds everything and that no other continues.
    pub(crate) fn whole(value: Vec<u8>, ttl: Option<Duration>) -> Self {
        Self { value, ttl, part: Part::Whole }
    }
}

/// Whether a snapshot holds everything.
#[derive(Clone)]
pub(crate) enum Part {
    Whole,
    /// It does, and once it is saved, others may continue it.
    Base(Arc<SnapshotBase>),
    /// It continues a base.
    Continuation,
}

/// A saved snapshot that others continue: they hold the calls of count windows since then, and
/// everything else anew.
pub(crate) struct SnapshotBase {
    pub(crate) id: u64,
    pub(crate) positions: Vec<WindowPosition>,
    /// It is continued until then: a store may remove what it has held for too long.
    pub(crate) until: Instant,
}

/// The state of another breaker of the same name, to continue with.
pub(crate) struct TakeOver<'a> {
    /// That breaker's snapshot: of this moment, or its last one.
    pub(crate) state: &'a [u8],
    /// Since when that breaker is gone, by the system's clock.
    pub(crate) gone_since: Option<Tick>,
    /// Whether the state is newer than any snapshot that may be read later.
    pub(crate) is_newer: bool,
    /// Whether the state is to replace the breaker's own. To be asked under the lock under which
    /// the breaker changes its state and marks the change.
    pub(crate) is_wanted: &'a dyn Fn() -> bool,
}

/// The part of a breaker's configuration that concerns its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SaveSettings {
    /// Counts are saved at most this long after they changed.
    pub(crate) flush_interval: Duration,
    /// Transitions are saved at most this long after they happened.
    pub(crate) transition_flush_interval: Duration,
    /// How many days the history is kept.
    pub(crate) history_retention_days: u32,
}

/// Why a breaker did not adopt a whole snapshot.
#[derive(Debug)]
pub(crate) enum RestoreError {
    /// It cannot be read whole, for this reason. The breaker has adopted the state that could be
    /// read, if any.
    Corrupt { reason: String, adopted: Option<State> },
    /// A newer release wrote it, in this version of the format.
    NewerVersion(u64),
}

impl RestoreError {
    /// Nothing can be read, for this reason.
    pub(crate) fn unreadable(reason: impl Into<String>) -> Self {
        Self::Corrupt { reason: reason.into(), adopted: None }
    }
}
