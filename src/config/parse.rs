//! Reads a [`Config`] from a file's value, and collects every fault on the way.
//!
//! A derived `Deserialize` would stop at the first fault, and would not report its path.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

use super::{
    backoff::Backoff,
    call_metrics::CallMetrics,
    fault::{ConfigError, Faults},
    fields::{Displayed, Fields, count, duration, join, number, only_field, quoted, with_defaults},
    ramp_up::RampUp,
    read::{read, read_json},
    settings::Config,
    snapshot_ttl::SnapshotTtl,
    trip::{Trip, Window},
};

/// The fields for which `null` is a value: what they set is off.
pub(super) const NULLABLE: [&str; 6] = [
    "backoff",
    "half_open_max_calls",
    "half_open_failure_rate",
    "half_open_timeout",
    "ramp_up",
    "abandoned_after",
];

impl Config {
    /// Reads a configuration from JSON.
    ///
    /// # Errors
    ///
    /// One error that lists every fault: invalid JSON, unknown fields, values of the wrong type or
    /// out of range.
    pub fn from_json(json: &str) -> Result<Self, ConfigError> {
        Self::from_value(read_json(json)?)
    }

    fn from_value((value, mut faults): (Value, Faults)) -> Result<Self, ConfigError> {
        let config = Self::read(&value, "", &mut faults);
        faults.into_result(config)
    }

    /// Reads and validates a configuration. A value that cannot be read is replaced by one that is
    /// in range, or whose fault has the same path: no fault is reported twice.
    pub(super) fn read(value: &Value, path: &str, faults: &mut Faults) -> Self {
        let mut config = Self::default();
        let Some(mut fields) = Fields::of(value, path, faults) else { return config };
        let Self {
            trip_on,
            recovery_timeout,
            backoff,
            success_threshold,
            half_open_max_calls,
            half_open_failure_rate,
            half_open_timeout,
            ramp_up,
            snapshot_ttl,
            abandoned_after,
            history_retention_days,
            flush_interval,
            transition_flush_interval,
            call_metrics,
        } = &mut config;
        fields.read("trip_on", trip_on, trips, faults);
        fields.read("recovery_timeout", recovery_timeout, duration, faults);
        fields.read_nullable("backoff", backoff, read_backoff, faults);
        fields.read("success_threshold", success_threshold, count, faults);
        fields.read_nullable("half_open_max_calls", half_open_max_calls, count, faults);
        fields.read_nullable("half_open_failure_rate", half_open_failure_rate, number, faults);
        fields.read_nullable("half_open_timeout", half_open_timeout, duration, faults);
        fields.read_nullable("ramp_up", ramp_up, read_ramp_up, faults);
        fields.read("snapshot_ttl", snapshot_ttl, read_snapshot_ttl, faults);
        fields.read_nullable("abandoned_after", abandoned_after, duration, faults);
        fields.read("history_retention_days", history_retention_days, count, faults);
        fields.read("flush_interval", flush_interval, duration, faults);
        fields.read("transition_flush_interval", transition_flush_interval, duration, faults);
        fields.read("call_metrics", call_metrics, read_call_metrics, faults);
        fields.finish(faults);
        config.check(path, faults);
        config
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(read(deserializer)?).map_err(D::Error::custom)
    }
}

fn trips(value: &Value, path: &str, faults: &mut Faults) -> Vec<Trip> {
    let Value::Array(rules) = value else {
        faults.add(path, format!("expected a list of rules, found {}", Displayed(value)));
        return Vec::new();
    };
    let rules = rules.iter().enumerate();
    // One that cannot be read is replaced, so that the others keep their places.
    let rule = |(index, rule)| {
        trip(rule, &format!("{path}[{index}]"), faults).unwrap_or(Trip::ConsecutiveFailures(1))
    };
    rules.map(rule).collect()
}

/// What is missing or cannot be read is replaced by what is in range.
fn trip(value: &Value, path: &str, faults: &mut Faults) -> Option<Trip> {
    const RULES: &[&str] = &["consecutive_failures", "failure_rate", "slow_call_rate"];
    let (rule, value) = only_field(value, path, RULES, faults)?;
    let path = join(path, rule);
    if rule == "consecutive_failures" {
        return Some(Trip::ConsecutiveFailures(count(value, &path, faults)));
    }
    let mut fields = Fields::of(value, &path, faults)?;
    let is_slow_call_rate = rule == "slow_call_rate";
    let threshold = fields.require("threshold", number, faults);
    let slower_than = is_slow_call_rate.then(|| fields.require("slower_than", duration, faults));
    let window = fields.require("window", window, faults).flatten();
    let mut minimum_calls = Trip::DEFAULT_MINIMUM_CALLS;
    fields.read("minimum_calls", &mut minimum_calls, count, faults);
    fields.finish(faults);
    let (threshold, window) = (threshold.unwrap_or(1.0), window.unwrap_or(Window::Calls(1)));
    Some(match slower_than {
        None => Trip::FailureRate { threshold, window, minimum_calls },
        Some(slower_than) => {
            let slower_than = slower_than.unwrap_or(Duration::from_secs(1));
            Trip::SlowCallRate { threshold, slower_than, window, minimum_calls }
        }
    })
}

fn window(value: &Value, path: &str, faults: &mut Faults) -> Option<Window> {
    let (kind, value) = only_field(value, path, &["calls", "time"], faults)?;
    let path = join(path, kind);
    Some(match kind {
        "calls" => Window::Calls(count(value, &path, faults)),
        _ => Window::Time(duration(value, &path, faults)),
    })
}

fn read_backoff(value: &Value, path: &str, faults: &mut Faults) -> Backoff {
    with_defaults(value, path, faults, |fields, backoff: &mut Backoff, faults| {
        fields.read("multiplier", &mut backoff.multiplier, number, faults);
        fields.read("max", &mut backoff.max, duration, faults);
        fields.read("jitter", &mut backoff.jitter, number, faults);
    })
}

fn read_ramp_up(value: &Value, path: &str, faults: &mut Faults) -> RampUp {
    with_defaults(value, path, faults, |fields, ramp_up: &mut RampUp, faults| {
        fields.read("start", &mut ramp_up.start, number, faults);
        fields.read("time", &mut ramp_up.time, duration, faults);
    })
}

fn read_snapshot_ttl(value: &Value, path: &str, faults: &mut Faults) -> SnapshotTtl {
    with_defaults(value, path, faults, |fields, ttl: &mut SnapshotTtl, faults| {
        fields.read("open", &mut ttl.open, duration, faults);
        fields.read("closed", &mut ttl.closed, duration, faults);
    })
}

fn read_call_metrics(value: &Value, path: &str, faults: &mut Faults) -> CallMetrics {
    value.as_str().and_then(CallMetrics::of).unwrap_or_else(|| {
        let (known, found) = (quoted(&CallMetrics::names()), Displayed(value));
        faults.add(path, format!("expected one of {known}, found {found}"));
        CallMetrics::default()
    })
}
