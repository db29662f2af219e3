use std::time::Duration;

use serde::Serialize;

use super::{
    backoff::Backoff,
    call_metrics::CallMetrics,
    ramp_up::RampUp,
    snapshot_ttl::SnapshotTtl,
    trip::{Trip, Window},
};

/// The settings of one breaker.
///
/// In code, start from the [default](Self::default) and change what differs:
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
/// From files, `Config` is read with serde, from any self-describing format. Durations are strings
/// such as `"1m 30s"`. A missing field takes its default; an unknown field is an error.
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
    /// The rules that open the circuit; it opens as soon as one of them trips. Default: five
    /// consecutive failures. Without a rule, the circuit opens only by hand.
    pub trip_on: Vec<Trip>,
    /// How long the circuit stays open before it admits a probe. Default: 60 s. Above zero, at
    /// most 365 days.
    #[serde(with = "humantime_serde")]
    pub recovery_timeout: Duration,
    /// Lengthens the open time with each opening. Default: none.
    pub backoff: Option<Backoff>,
    /// How many probes must succeed to close the circuit; with
    /// [`half_open_failure_rate`](Self::half_open_failure_rate), how many results are needed for
    /// the decision. Default: 1. At least 1.
    pub success_threshold: u32,
    /// How many probes may be in flight at once while half-open. Default (`None`):
    /// [`success_threshold`](Self::success_threshold). At least 1.
    pub half_open_max_calls: Option<u32>,
    /// Decides by the share of failed or slow probes, instead of by the first one that fails.
    /// Default: none. Above 0, at most 1.
    pub half_open_failure_rate: Option<f64>,
    /// How long the oldest probe may be in flight before the circuit opens again. It also limits
    /// the sum of the times of probes that ended without a result (cancelled or ignored, but not
    /// those that a panic elsewhere has dropped), until a result is recorded. Raise it if healthy
    /// calls take longer. Default: 60 s. Above zero, at most 365 days. `None`: without a limit; a
    /// probe that hangs keeps its slot.
    #[serde(with = "humantime_serde")]
    pub half_open_timeout: Option<Duration>,
    /// Admits a growing share of the calls after the circuit closes, instead of all at once.
    /// Default: none.
    pub ramp_up: Option<RampUp>,
    /// How long a stored snapshot is valid. Default: 24 h for an open circuit and for a state that
    /// is set by hand for a time, 1 h for others; always for other states set by hand.
    pub snapshot_ttl: SnapshotTtl,
    /// After how long a call that is dropped before it has an outcome counts as a failure: see
    /// [`Permit`](crate::Permit#abandoned-calls). Default (`None`): never. Above zero, at most
    /// 365 days.
    #[serde(with = "humantime_serde")]
    pub abandoned_after: Option<Duration>,
    /// How many days the store keeps the [history](crate::Breaker::history) of transitions, also
    /// after the breaker is gone. It holds at most the newest 500 transitions of each breaker.
    /// Default: 30. From 1 to 365.
    pub history_retention_days: u32,
    /// How long changed counts may wait before they are saved. A crash loses at most the counts of
    /// this time. Default: 1 s. At most 365 days.
    ///
    /// The history has a record of each state that is restored from the store. It may wait as long:
    /// a start with many breakers is not slowed by it.
    #[serde(with = "humantime_serde")]
    pub flush_interval: Duration,
    /// How long a transition may wait to be saved together with others on the same store. A crash
    /// within this time loses the transition, unless it was [flushed](crate::Breaker::flush).
    ///
    /// Default: 0 s, it is saved at once. Raise it for a store on which each write is expensive.
    /// A value above [`flush_interval`](Self::flush_interval) has the effect of that value. At
    /// most 365 days.
    #[serde(with = "humantime_serde")]
    pub transition_flush_interval: Duration,
    /// What is counted of the calls, for the module `metrics`. Default: how they ended. A change
    /// by [`update`](crate::Breaker::update) holds for the calls that begin from then on. `Off`
    /// forgets the counts, as the drop of the breaker does.
    pub call_metrics: CallMetrics,
}

impl Config {
    /// Returns the open time of the `opening`-th consecutive opening, before jitter and before a
    /// failure's own `retry_after`: `min(recovery_timeout * multiplier^(opening - 1), max)`.
    #[must_use]
    pub fn open_time(&self, opening: u32) -> Duration {
        let Some(backoff) = &self.backoff else {
            return self.recovery_timeout;
        };
        let exponent = i32::try_from(opening.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.recovery_timeout.as_secs_f64() * backoff.multiplier.powi(exponent);
        // A power that overflows is infinite, which no duration can hold: the maximum applies.
        Duration::try_from_secs_f64(seconds).map_or(backoff.max, |time| time.min(backoff.max))
    }

    /// Whether it depends on the time what a call counts as, or for how long.
    pub(crate) fn times_calls(&self) -> bool {
        self.abandoned_after.is_some()
            || self.measures_durations()
            || self.trip_on.iter().any(|trip| {
                matches!(
                    trip,
                    Trip::SlowCallRate { .. } | Trip::FailureRate { window: Window::Time(_), .. }
                )
            })
    }

    /// Whether metrics need the duration of each call.
    pub(crate) fn measures_durations(&self) -> bool {
        cfg!(feature = "metrics") && self.call_metrics == CallMetrics::Durations
    }

    /// How many probes may be in flight at once.
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
            abandoned_after: None,
            history_retention_days: 30,
            flush_interval: Duration::from_secs(1),
            transition_flush_interval: Duration::ZERO,
            call_metrics: CallMetrics::default(),
        }
    }
}
