//! The last state of a breaker that is gone.

use super::source::{EncodedSnapshot, RestoreError, SaveSettings, SnapshotSource, TakeOver};
use crate::{
    clock::{SystemClock, Tick},
    health::StoreHealth,
};

/// A breaker's state, and since when it is gone, by the system's clock.
#[derive(Clone)]
pub(super) struct EntryState {
    pub(super) snapshot: EncodedSnapshot,
    pub(super) gone_since: Option<Tick>,
}

/// What an entry keeps of a breaker that is gone, until it is saved.
pub(super) struct LastState {
    snapshot: EncodedSnapshot,
    settings: SaveSettings,
    gone_since: Tick,
}

impl LastState {
    /// The last state of a breaker that is still there.
    pub(super) fn of(breaker: &dyn SnapshotSource) -> Option<Self> {
        let (snapshot, settings) = (breaker.encode()?, breaker.settings());
        Some(Self { snapshot, settings, gone_since: SystemClock::tick() })
    }
}

impl SnapshotSource for LastState {
    fn encode(&self) -> Option<EncodedSnapshot> {
        Some(self.snapshot.clone())
    }

    fn restore(&self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }

    fn take_over(&self, _: &TakeOver<'_>) {}

    fn gone_since(&self) -> Option<Tick> {
        Some(self.gone_since)
    }

    fn settings(&self) -> SaveSettings {
        self.settings
    }

    fn store_health(&self, _: &StoreHealth) {}
}
