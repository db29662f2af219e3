use std::time::Duration;

use serde::Serialize;

/// How the open time grows while the circuit opens repeatedly without closing.
///
/// With a backoff, a failure's own `retry_after` is honoured too: if it is longer than the open
/// time, it replaces the open time, up to [`max`](Self::max).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Backoff {
    /// The factor from one opening to the next. Default: 2. At least 1.
    pub multiplier: f64,
    /// The longest open time. Default: 10 min. At least `recovery_timeout`, at most 365 days.
    #[serde(with = "humantime_serde")]
    pub max: Duration,
    /// The random part of the open time, which keeps the breakers of a fleet from probing at the
    /// same instant. Default: 0. From 0 to 1.
    ///
    /// The open time is drawn uniformly from `open_time * (1 - jitter)` to `open_time`. A
    /// `retry_after` is drawn upwards instead, up to `max`: a probe must not come before the time
    /// that the service asked for. The rest of the open time after a restart is drawn again.
    pub jitter: f64,
}

impl Backoff {
    /// Creates a backoff without jitter.
    #[must_use]
    pub const fn new(multiplier: f64, max: Duration) -> Self {
        Self { multiplier, max, jitter: 0.0 }
    }

    /// Sets the jitter.
    #[must_use]
    pub const fn jitter(mut self, jitter: f64) -> Self {
        self.jitter = jitter;
        self
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(2.0, Duration::from_secs(600))
    }
}
