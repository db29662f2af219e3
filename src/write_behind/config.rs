//! Bounds and intervals of the write-behind that are the same for every breaker.

use std::time::Duration;

use crate::store::LONGEST_DROP;

/// The longest wait for a snapshot. A build waits a second at most in all: this leaves a tenth of
/// it for the rest.
pub(crate) const LONGEST_LOAD: Duration = Duration::from_millis(900);

/// How long the callers of this module wait, and how often it cleans up.
#[derive(Clone, Debug)]
pub(crate) struct WriteBehindConfig {
    /// The longest that the construction of a breaker waits for its snapshot. Zero: it does not
    /// wait, and the snapshot is restored later.
    pub(crate) load_wait: Duration,
    /// The longest that the drop of a breaker waits for its last snapshot to be saved.
    pub(crate) drop_wait: Duration,
    /// The time from the start of the writer to its first sweep of expired snapshots and history
    /// records. The first breaker on a store decides.
    pub(crate) first_sweep: Duration,
    /// The time between sweeps after that.
    pub(crate) sweep_interval: Duration,
    /// How long a store is not called before it is asked whether what was saved is still there.
    pub(crate) verify_interval: Duration,
}

impl Default for WriteBehindConfig {
    fn default() -> Self {
        Self {
            load_wait: LONGEST_LOAD,
            drop_wait: LONGEST_DROP,
            first_sweep: Duration::from_secs(600),
            sweep_interval: Duration::from_secs(3600),
            // As the default of the flush interval.
            verify_interval: Duration::from_secs(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_build_nor_a_drop_waits_longer_than_a_second() {
        let WriteBehindConfig { load_wait, drop_wait, .. } = WriteBehindConfig::default();
        assert!(load_wait < Duration::from_secs(1) && drop_wait <= Duration::from_secs(1));
    }
}
