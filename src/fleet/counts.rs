//! Whose calls the rules of a shared breaker count.

use crate::config::{Config, Faults, Trip, Window, join};

/// Whose calls the rate rules of a fleet's breakers count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FleetCounts {
    /// Each replica its own. The default.
    #[default]
    Own,
    /// Those of all replicas together, besides each replica's own: twenty replicas with two
    /// failures each trip as one with forty. For rules over [time windows](Window::Time) only; a
    /// breaker with another rule is refused.
    ///
    /// While it has calls, each replica sends what it has counted every 100 ms, in one command for
    /// all its breakers, and compares the sums with its own rules: a rule is met if it would be met
    /// by the calls of all, [`minimum_calls`](Trip::minimum_calls) included. The replica that sees
    /// it trips, with the sum as the
    /// [`failure_count`](crate::event::Transition::failure_count), if at least one of the bad calls
    /// is in its own window. With [`Agreement::replicas`](super::Agreement::replicas) of more than
    /// one, that many must have seen it, and the calls in the own window of each must meet the rate
    /// too, however few they are: the failures of one replica do not open the circuits of others.
    ///
    /// Where a replica's vote does not suffice, what it has counted leaves the sum once the vote
    /// has ended: with its open time, or before, if the replica has closed by itself.
    ///
    /// A replica's own calls trip it as without. Nothing is counted twice. What a replica has
    /// counted within one interval is missing from the sum if just then the server fails, the
    /// circuit changes its state, or the breaker its settings. What it has counted while it did not
    /// reach the server is missing too: then its own calls decide alone. A call leaves the sum at
    /// the age of the window, or up to a twentieth earlier, from when its batch has arrived. If the
    /// server's clock goes back, the sum begins anew.
    Shared,
}

impl FleetCounts {
    /// Adds a fault for each rule of these settings that cannot be counted together.
    pub(crate) fn check(self, config: &Config, path: &str, faults: &mut Faults) {
        if self == Self::Own {
            return;
        }
        for (index, trip) in config.trip_on.iter().enumerate() {
            let is_timed = match trip {
                Trip::FailureRate { window, .. } | Trip::SlowCallRate { window, .. } => {
                    matches!(window, Window::Time(_))
                }
                Trip::ConsecutiveFailures(_) => false,
            };
            if !is_timed {
                faults.add(
                    format!("{}[{index}]", join(path, "trip_on")),
                    "must be a rate over a time window: the fleet counts the calls of all \
                     replicas (FleetCounts::Shared)",
                );
            }
        }
    }
}
