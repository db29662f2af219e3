//! The settings of a run: the reference's own form of them, and the words of the file format,
//! through which alone the breaker under test learns them.

use serde_json::{Value, json};
use tower_breaker::Config;

/// All times are whole milliseconds and all shares whole percents, so that the reference needs no
/// rounding.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) rules: Vec<Rule>,
    pub(crate) recovery: u64,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) success_threshold: u32,
    pub(crate) max_probes: Option<u32>,
    pub(crate) probe_failure_percent: Option<u64>,
    pub(crate) probe_timeout: Option<u64>,
    pub(crate) ramp: Option<Ramp>,
}

#[derive(Debug, Clone)]
pub(crate) enum Rule {
    Row(u32),
    Rate(Rate),
}

#[derive(Debug, Clone)]
pub(crate) struct Rate {
    /// A slow-call rule has this; a failure rule has not.
    pub(crate) slower_than: Option<u64>,
    pub(crate) percent: u64,
    pub(crate) span: Span,
    pub(crate) minimum: u64,
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

impl Settings {
    pub(crate) fn rates(&self) -> impl Iterator<Item = &Rate> {
        self.rules.iter().filter_map(|rule| match rule {
            Rule::Row(_) => None,
            Rule::Rate(rate) => Some(rate),
        })
    }

    /// Slow by any rule.
    pub(crate) fn is_slow(&self, took: u64) -> bool {
        self.rates().any(|rate| rate.slower_than.is_some_and(|limit| took > limit))
    }

    pub(crate) fn probe_limit(&self) -> usize {
        self.max_probes.unwrap_or(self.success_threshold) as usize
    }

    /// The open time at the `opening`-th opening in a row.
    pub(crate) fn open_time(&self, opening: u32, asked: Option<u64>) -> u64 {
        let Some(Backoff { multiplier, max }) = self.backoff else {
            return self.recovery;
        };
        let mut time = self.recovery;
        for _ in 1..opening {
            time = (time * multiplier).min(max);
        }
        time.min(max).max(asked.unwrap_or(0).min(max))
    }

    pub(crate) fn longest_open_time(&self) -> u64 {
        self.backoff.map_or(self.recovery, |backoff| backoff.max)
    }

    pub(crate) fn config(&self) -> Config {
        let text = self.to_json().to_string();
        Config::from_json(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    fn to_json(&self) -> Value {
        json!({
            "trip_on": self.rules.iter().map(Rule::to_json).collect::<Vec<_>>(),
            "recovery_timeout": millis(self.recovery),
            "backoff": self.backoff.map(|Backoff { multiplier, max }| {
                json!({"multiplier": multiplier, "max": millis(max)})
            }),
            "success_threshold": self.success_threshold,
            "half_open_max_calls": self.max_probes,
            "half_open_failure_rate": self.probe_failure_percent.map(share),
            "half_open_timeout": self.probe_timeout.map(millis),
            "ramp_up": self.ramp.map(|Ramp { start_percent, time }| {
                json!({"start": share(start_percent), "time": millis(time)})
            }),
            // How long a snapshot may lie about is no matter of the state machine.
            "snapshot_ttl": {"open": "365days", "closed": "365days"},
        })
    }
}

impl Rule {
    fn to_json(&self) -> Value {
        let rate = match self {
            Self::Row(failures) => return json!({"consecutive_failures": failures}),
            Self::Rate(rate) => rate,
        };
        let window = match rate.span {
            Span::Calls(calls) => json!({"calls": calls}),
            Span::Time(time) => json!({"time": millis(time)}),
        };
        let mut body = json!({
            "threshold": share(rate.percent), "window": window, "minimum_calls": rate.minimum,
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

/// The number that the decimal text means: seven percent are 0.07.
fn share(percent: u64) -> f64 {
    percent as f64 / 100.0
}
