//! The settings of a fleet.

use std::{env, fs, time::Duration};

use super::{agreement::Agreement, counts::FleetCounts};
use crate::store::redis::random;

/// The settings of a fleet that its threads need.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) agreement: Agreement,
    /// This replica's id.
    pub(super) replica: String,
    /// This replica in its votes.
    pub(super) voter: u64,
    pub(super) lease: Duration,
    pub(super) counts: FleetCounts,
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

/// The id of a replica that has been given none.
pub(super) fn random_id() -> String {
    let said = env::var("HOSTNAME").or_else(|_| fs::read_to_string("/proc/sys/kernel/hostname"));
    let name: String = said.unwrap_or_default().trim().chars().take(60).collect();
    let name = if name.is_empty() || name.len() > 100 { "replica" } else { &*name };
    format!("{name}-{:08x}", random() >> 32)
}
