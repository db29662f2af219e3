//! The settings of a fleet.

use std::time::Duration;

use super::agreement::Agreement;

/// The settings of a fleet that its threads need.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) agreement: Agreement,
    /// Identifies this replica's vote.
    pub(super) voter: u64,
    pub(super) lease: Duration,
    pub(super) prefix: String,
    /// The longest that a command takes.
    pub(super) timeout: Duration,
}

/// A number for a replica's id: FNV-1a, which is the same in every release.
pub(super) fn hash(id: &str) -> u64 {
    id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
