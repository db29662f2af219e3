//! What a breaker is told: when to trip, how long to stay open, how to come back.

mod fault;
mod file;
mod parse;
mod validate;

use std::time::Duration;

use serde::Serialize;

pub(crate) use self::fault::Faults;
pub use self::{
    fault::{ConfigError, Fault},
    file::ConfigFile,
};

/// The settings of one breaker.
///
/// In code, change what you need of the [default](Self::default):
///
/// ```
/// use std::time::Duration;
/// use tower_breaker::{Config, Trip};
///
/// let mut config = Config::default();
/// config.trip_on = vec![Trip::consecutive_failures(3)];
/// config.recovery_timeout = Duration::from_secs(10);
/// ```
///
/// In files, through serde: any self-describing format will do. Durations are texts such as
/// `"1m 30s"`. A field that is left out has its default; an unknown field is an error.
///
/// ```
/// use tower_breaker::Config;
///
/// let config = Config::from_json(r#"{
///     "trip_on": [
///         {"consecutive_failures": 5},
///         {"failure_rate": {"threshold": 0.5, "window": {"calls": 100}, "minimum_calls": 20}}
///     ],
///     "recovery_timeout": "60s",
///     "backoff": {"multiplier": 2.0, "max": "10m", "jitter": 0.2}
/// }"#)?;
/// # Ok::<(), tower_breaker::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Config {
    /// The rules that open the circuit; any one of them does. Default: five consecutive
    /// failures. Without a rule, the circuit opens only by hand.
    pub trip_on: Vec<Trip>,
    /// How long the circuit stays open before it lets a probe through. Default: 60 s. Above
    /// zero, at most 365 days.
    #[serde(with = "humantime_serde")]
    pub recovery_timeout: Duration,
    /// Lengthens the open time from one opening to the next. Default: none.
    pub backoff: Option<Backoff>,
    /// The number of probes that must succeed to close the circuit; with
    /// [`half_open_failure_rate`](Self::half_open_failure_rate), the number of results after
    /// which it decides. Default: 1.
    pub success_threshold: u32,
    /// How many probes may be out at once while half-open. Default (`None`): as many as
    /// [`success_threshold`](Self::success_threshold).
    pub half_open_max_calls: Option<u32>,
    /// Decide by the share of failed or slow probes, instead of by the first failed one.
    /// Default: none. Above 0, at most 1.
    pub half_open_failure_rate: Option<f64>,
    /// How long the oldest probe may be out before the circuit opens again. Default: 60 s.
    /// `None`: for ever, so that a probe that hangs keeps its slot.
    #[serde(with = "humantime_serde")]
    pub half_open_timeout: Option<Duration>,
    /// Let the admitted share of calls grow after the circuit has closed, instead of admitting
    /// all at once. Default: none.
    pub ramp_up: Option<RampUp>,
    /// How old a stored snapshot may be. Default: open 24 h, others 1 h.
    pub snapshot_ttl: SnapshotTtl,
    /// How many days the [history](crate::Breaker::history) of transitions is kept in the store.
    /// Default: 30. 1 to 365. What a breaker had is kept that long also when the breaker is gone.
    /// Of each breaker, the newest 500 transitions are kept at most.
    pub history_retention_days: u32,
}

impl Config {
    /// The open time at the `opening`-th opening in a row, before jitter and before a failure's
    /// own `retry_after`: `min(recovery_timeout * multiplier^(opening - 1), max)`.
    #[must_use]
    pub fn open_time(&self, opening: u32) -> Duration {
        let Some(backoff) = &self.backoff else {
            return self.recovery_timeout;
        };
        let exponent = i32::try_from(opening.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.recovery_timeout.as_secs_f64() * backoff.multiplier.powi(exponent);
        // A power that overflowed is infinite, and no duration: that is the maximum too.
        Duration::try_from_secs_f64(seconds).map_or(backoff.max, |time| time.min(backoff.max))
    }

    /// How many probes may be out at once.
    pub(crate) fn probe_limit(&self) -> u32 {
        self.half_open_max_calls.unwrap_or(self.success_threshold)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            trip_on: vec![Trip::consecutive_failures(5)],
            recovery_timeout: Duration::from_secs(60),
            backoff: None,
            success_threshold: 1,
            half_open_max_calls: None,
            half_open_failure_rate: None,
            half_open_timeout: Some(Duration::from_secs(60)),
            ramp_up: None,
            snapshot_ttl: SnapshotTtl::default(),
            history_retention_days: 30,
        }
    }
}

/// A rule that opens the circuit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trip {
    /// This many failures with no success between them.
    ConsecutiveFailures(u32),
    /// The share of failed calls in a window.
    #[non_exhaustive]
    FailureRate {
        /// Trips at this share or above: above 0, at most 1.
        threshold: f64,
        /// The calls that count.
        window: Window,
        /// How many calls the window must hold before the rule is asked. A count window that
        /// is smaller is asked when it is full. Default: 20.
        minimum_calls: u32,
    },
    /// The share of slow calls in a window.
    #[non_exhaustive]
    SlowCallRate {
        /// Trips at this share or above: above 0, at most 1.
        threshold: f64,
        /// A call is slow that took longer than this.
        #[serde(with = "humantime_serde")]
        slower_than: Duration,
        /// The calls that count.
        window: Window,
        /// How many calls the window must hold before the rule is asked. A count window that
        /// is smaller is asked when it is full. Default: 20.
        minimum_calls: u32,
    },
}

impl Trip {
    pub(crate) const DEFAULT_MINIMUM_CALLS: u32 = 20;

    /// Trips at the `failures`-th failure in a row.
    #[must_use]
    pub const fn consecutive_failures(failures: u32) -> Self {
        Self::ConsecutiveFailures(failures)
    }

    /// Trips when at least this share of the calls in the window failed, as soon as the window
    /// holds 20 calls (or [as many as you say](Self::minimum_calls)).
    #[must_use]
    pub const fn failure_rate(threshold: f64, window: Window) -> Self {
        Self::FailureRate { threshold, window, minimum_calls: Self::DEFAULT_MINIMUM_CALLS }
    }

    /// Trips when at least this share of the calls in the window took longer than
    /// `slower_than`, as soon as the window holds 20 calls (or
    /// [as many as you say](Self::minimum_calls)).
    #[must_use]
    pub const fn slow_call_rate(threshold: f64, slower_than: Duration, window: Window) -> Self {
        Self::SlowCallRate {
            threshold,
            slower_than,
            window,
            minimum_calls: Self::DEFAULT_MINIMUM_CALLS,
        }
    }

    /// Sets how many calls the window of a rate must hold before the rule is asked. A rule of
    /// consecutive failures has no window: nothing changes.
    #[must_use]
    pub const fn minimum_calls(mut self, calls: u32) -> Self {
        match &mut self {
            Self::ConsecutiveFailures(_) => {}
            Self::FailureRate { minimum_calls, .. } | Self::SlowCallRate { minimum_calls, .. } => {
                *minimum_calls = calls;
            }
        }
        self
    }
}

/// The calls that a rate looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Window {
    /// The last so many calls: 1 to 1,000,000. It takes a quarter of a byte a call.
    Calls(u32),
    /// The calls of the last so long: 1 ms to 365 days. It takes about a kilobyte, whatever the
    /// traffic, and drops a call when it is that old, or up to a fortieth of the time earlier.
    #[serde(with = "humantime_serde")]
    Time(Duration),
}

impl Window {
    /// The last `calls` calls.
    #[must_use]
    pub const fn calls(calls: u32) -> Self {
        Self::Calls(calls)
    }

    /// The calls of the last `time`.
    #[must_use]
    pub const fn time(time: Duration) -> Self {
        Self::Time(time)
    }
}

/// How the open time grows while the circuit opens again and again without closing.
///
/// With a backoff, a failure's own `retry_after` is followed too: where it is longer than the
/// open time it replaces it, up to [`max`](Self::max).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Backoff {
    /// The factor from one opening to the next. Default: 2. At least 1.
    pub multiplier: f64,
    /// The longest open time. Default: 10 min. At least `recovery_timeout`.
    #[serde(with = "humantime_serde")]
    pub max: Duration,
    /// How much of the open time is left to chance: it is drawn evenly from
    /// `open_time * (1 - jitter)` to `open_time`, so that the breakers of a fleet do not probe
    /// at one instant. A `retry_after` is drawn upwards instead (up to `max`), since a caller
    /// should not come before he is asked. What is left of the open time at a restart is drawn
    /// anew. Default: 0. From 0 to 1.
    pub jitter: f64,
}

impl Backoff {
    /// A backoff without jitter.
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

/// After closing, admit a growing share of the calls: `start + (1 - start) * t / time` of them,
/// `t` after the circuit closed, evenly spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RampUp {
    /// The share that is admitted at once. Default: 0.1. At least 0, below 1.
    pub start: f64,
    /// How long it takes until all calls are admitted. Default: 30 s.
    #[serde(with = "humantime_serde")]
    pub time: Duration,
}

impl RampUp {
    /// A ramp from `start` to all over `time`.
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

/// How old a snapshot may be.
///
/// An older one of a closed circuit is not restored: its counts are stale. One of an open or a
/// half-open circuit is restored however old it is, as long as it is there, and a probe decides: a
/// wall clock that jumped forward must not close a circuit.
///
/// What is older than that, and belongs to no breaker of this process, is removed from the store in
/// the background, ten minutes after the store's first breaker was built, and every hour from then
/// on. States set by hand never expire, and neither does what cannot be read or was written by a
/// newer version. Each snapshot says itself how long it is to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SnapshotTtl {
    /// For an open circuit. One with a longer open time lives until that is over. Default: 24 h.
    #[serde(with = "humantime_serde")]
    pub open: Duration,
    /// For a closed one, and for a half-open one: its breaker was at work when it was saved.
    /// Default: 1 h.
    #[serde(with = "humantime_serde")]
    pub closed: Duration,
}

impl Default for SnapshotTtl {
    fn default() -> Self {
        Self { open: Duration::from_secs(24 * 3600), closed: Duration::from_secs(3600) }
    }
}
