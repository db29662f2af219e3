use std::time::Duration;

use serde::Serialize;

/// Admits a growing share of the calls after the circuit closes: `start + (1 - start) * t / time`
/// of them, evenly spread, where `t` is the time since the circuit closed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RampUp {
    /// The share that is admitted at first. Default: 0.1. At least 0, below 1.
    pub start: f64,
    /// The time until all calls are admitted. Default: 30 s. Above zero, at most 365 days.
    #[serde(with = "humantime_serde")]
    pub time: Duration,
}

impl RampUp {
    /// Creates a ramp from `start` to all calls over `time`.
    #[must_use]
    pub const fn new(start: f64, time: Duration) -> Self {
        Self { start, time }
    }
}

impl Default for RampUp {
    fn default() -> Self {
        Self::new(0.1, Duration::from_secs(30))
    }
}
