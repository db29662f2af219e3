//! The last state of a breaker that is gone.

use super::source::{EncodedSnapshot, RestoreError, SaveSettings, SnapshotSource, TakeOver};
use crate::health::StoreHealth;

/// What an entry keeps of a breaker that is gone, until it is saved.
pub(super) struct LastState {
    snapshot: EncodedSnapshot,
    settings: SaveSettings,
}

impl LastState {
    /// The last state of a breaker that is still there.
    pub(super) fn of(breaker: &dyn SnapshotSource) -> Option<Self> {
        Some(Self { snapshot: breaker.encode()?, settings: breaker.settings() })
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

    fn settings(&self) -> SaveSettings {
        self.settings
    }

    fn store_health(&self, _: &StoreHealth) {}
}
