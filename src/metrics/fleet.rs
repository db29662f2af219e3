//! Metrics of a fleet.

use super::record;

const JOINED: &str = "circuit_breaker_fleet_joined";
const REPLICAS: &str = "circuit_breaker_fleet_replicas";

pub(super) fn describe() {
    ::metrics::describe_gauge!(
        JOINED,
        "1 if the process reaches each of its fleets, 0 if it decides alone about breakers of one"
    );
    ::metrics::describe_gauge!(
        REPLICAS,
        "Replicas of the largest fleet of this process that were heard of within ten seconds, \
         with this one; 0 if it decides alone"
    );
}

/// Records whether this process reaches its fleet.
pub(crate) fn fleet_joined(is_joined: bool) {
    record(|_| ::metrics::gauge!(JOINED).set(if is_joined { 1.0 } else { 0.0 }));
}

/// Records how many replicas are present.
pub(crate) fn fleet_replicas(count: u64) {
    record(|_| ::metrics::gauge!(REPLICAS).set(count as f64));
}
