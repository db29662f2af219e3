use std::time::Duration;

use serde::Serialize;

/// How long a stored snapshot is valid after it was saved.
///
/// An expired snapshot of a closed circuit is not restored: its counts are stale. One of an open
/// or half-open circuit is restored whatever its age, as long as the store has it, and a probe
/// decides: a wall clock that jumps forward must not close a circuit.
///
/// Expired snapshots are removed from the store in the background unless a breaker of this process
/// uses them: ten minutes after the store's first breaker was built, and every hour from then on.
/// For that, each snapshot records its own expiry; what is restored goes by the current settings.
/// Snapshots of states set by hand do not expire; those of
/// states set by hand for a time expire like those of open circuits. Snapshots that cannot be
/// read, or that a newer version wrote, are never removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SnapshotTtl {
    /// For an open circuit. If the circuit stays open for longer than this, its snapshot lives
    /// until the open time and then the `half_open_timeout` have ended. Default: 24 h. Above zero,
    /// at most 365 days.
    #[serde(with = "humantime_serde")]
    pub open: Duration,
    /// For a closed or half-open circuit; for a half-open one at least the `half_open_timeout`.
    /// Default: 1 h. Above zero, at most 365 days.
    #[serde(with = "humantime_serde")]
    pub closed: Duration,
}

impl Default for SnapshotTtl {
    fn default() -> Self {
        Self { open: Duration::from_secs(24 * 3600), closed: Duration::from_secs(3600) }
    }
}
