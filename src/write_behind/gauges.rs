//! When the gauges of a store are recorded, besides each change of its health.

use std::time::{Duration, Instant};

use crate::metrics;

/// The shortest time between two recordings.
const INTERVAL: Duration = Duration::from_secs(1);
/// The gauges are recorded this often although nothing happened: the recorder may have been
/// installed meanwhile.
const IDLE_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct GaugeTimer {
    recorded: Option<Instant>,
    /// Whether anything was done since.
    is_stale: bool,
}

impl GaugeTimer {
    /// When the gauges are to be recorded if nothing else happens.
    pub(super) fn due(&self) -> Option<Instant> {
        let recorded = self.recorded.filter(|_| metrics::ENABLED)?;
        Some(recorded + if self.is_stale { INTERVAL } else { IDLE_INTERVAL })
    }

    /// To be called after each piece of work. Returns whether the gauges are to be recorded now.
    pub(super) fn is_due(&mut self) -> bool {
        if !metrics::ENABLED {
            return false;
        }
        let now = Instant::now();
        self.is_stale = self.recorded.is_some_and(|at| now.duration_since(at) < INTERVAL);
        if !self.is_stale {
            self.recorded = Some(now);
        }
        !self.is_stale
    }
}
