//! The settings of a run in the model's own form, and as the JSON that configures the breaker
//! under test.

use serde_json::{Value, json};
use tower_breaker::{Config, config::CallMetrics};

/// All times are whole milliseconds and all shares are fractions of small integers, so the model
/// needs no rounding.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) rules: Vec<Rule>,
    pub(crate) recovery_timeout: u64,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) success_threshold: u32,
    pub(crate) max_probes: Option<u32>,
    pub(crate) probe_failure_rate: Option<Share>,
    pub(crate) probe_timeout: Option<u64>,
    pub(crate) ramp: Option<Ramp>,
    /// The time after which a call that is given up is a failure.
    pub(crate) abandoned_after: Option<u64>,
    /// The age from which a restart ignores the snapshot of a closed circuit.
    pub(crate) closed_ttl: u64,
    /// Whether calls are counted for metrics: others take other paths.
    pub(crate) metered: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Rule {
    ConsecutiveFailures(u32),
    Rate(Rate),
}

#[derive(Debug, Clone)]
pub(crate) struct Rate {
    /// The duration limit of a slow-call rule; `None` for a failure rule.
    pub(crate) slower_than: Option<u64>,
    pub(crate) threshold: Share,
    pub(crate) span: Span,
    pub(crate) minimum_calls: u64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Span {
    Calls(u64),
    Time(u64),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    pub(crate) multiplier: u64,
    pub(crate) max: u64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Ramp {
    pub(crate) start_percent: u64,
    pub(crate) time: u64,
}

/// An exact fraction, at most 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    pub(crate) numerator: u64,
    pub(crate) denominator: u64,
}

impl Share {
    pub(crate) const fn percent(percent: u64) -> Self {
        Self { numerator: percent, denominator: 100 }
    }

    /// Whether `part` of `whole` is at least this share.
    pub(crate) fn is_reached_by(self, part: u64, whole: u64) -> bool {
        part * self.denominator >= self.numerator * whole
    }

    pub(crate) fn times(self, factor: u64) -> Self {
        Self { numerator: (self.numerator * factor).min(self.denominator), ..self }
    }

    /// The number closest to the fraction: 7 percent is 0.07.
    fn to_f64(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }
}

impl Settings {
    pub(crate) fn rates(&self) -> impl Iterator<Item = &Rate> {
        self.rules.iter().filter_map(|rule| match rule {
            Rule::ConsecutiveFailures(_) => None,
            Rule::Rate(rate) => Some(rate),
        })
    }

    /// Whether a call of this duration is slow by any rule.
    pub(crate) fn is_slow(&self, took: u64) -> bool {
        self.rates().any(|rate| rate.slower_than.is_some_and(|limit| took > limit))
    }

    pub(crate) fn probe_limit(&self) -> usize {
        self.max_probes.unwrap_or(self.success_threshold) as usize
    }

    /// The open time of the `opening`-th opening in a row.
    pub(crate) fn open_time(&self, opening: u32, retry_after: Option<u64>) -> u64 {
        let Some(Backoff { multiplier, max }) = self.backoff else {
            return self.recovery_timeout;
        };
        let mut time = self.recovery_timeout;
        for _ in 1..opening {
            time = (time * multiplier).min(max);
        }
        time.min(max).max(retry_after.unwrap_or(0).min(max))
    }

    pub(crate) fn longest_open_time(&self) -> u64 {
        self.backoff.map_or(self.recovery_timeout, |backoff| backoff.max)
    }

    pub(crate) fn config(&self) -> Config {
        let text = self.to_json().to_string();
        let mut config =
            Config::from_json(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
        config.call_metrics = if self.metered { CallMetrics::Counts } else { CallMetrics::Off };
        config
    }

    fn to_json(&self) -> Value {
        json!({
            "trip_on": self.rules.iter().map(Rule::to_json).collect::<Vec<_>>(),
            "recovery_timeout": millis(self.recovery_timeout),
            "backoff": self.backoff.map(|Backoff { multiplier, max }| {
                json!({"multiplier": multiplier, "max": millis(max)})
            }),
            "success_threshold": self.success_threshold,
            "half_open_max_calls": self.max_probes,
            "half_open_failure_rate": self.probe_failure_rate.map(Share::to_f64),
            "half_open_timeout": self.probe_timeout.map(millis),
            "ramp_up": self.ramp.map(|Ramp { start_percent, time }| {
                json!({"start": Share::percent(start_percent).to_f64(), "time": millis(time)})
            }),
            "abandoned_after": self.abandoned_after.map(millis),
            "snapshot_ttl": {"open": "365days", "closed": millis(self.closed_ttl)},
        })
    }
}

impl Rule {
    fn to_json(&self) -> Value {
        let rate = match self {
            Self::ConsecutiveFailures(limit) => return json!({"consecutive_failures": limit}),
            Self::Rate(rate) => rate,
        };
        let window = match rate.span {
            Span::Calls(calls) => json!({"calls": calls}),
            Span::Time(time) => json!({"time": millis(time)}),
        };
        let mut body = json!({
            "threshold": rate.threshold.to_f64(),
            "window": window,
            "minimum_calls": rate.minimum_calls,
        });
        match rate.slower_than {
            None => json!({"failure_rate": body}),
            Some(limit) => {
                body["slower_than"] = millis(limit).into();
                json!({"slow_call_rate": body})
            }
        }
    }
}

fn millis(time: u64) -> String {
    format!("{time}ms")
}
