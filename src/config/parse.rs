//! From a file's value to a [`Config`], collecting every fault on the way.
//!
//! A derived `Deserialize` would stop at the first fault, and would not say where it stands.

use std::time::Duration;

use humantime_serde::re::humantime;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Value};

use super::{
    Backoff, Config, ConfigError, RampUp, SnapshotTtl, Trip, Window,
    fault::{Faults, join, parse_json},
};

impl Config {
    /// Reads a configuration from JSON.
    ///
    /// # Errors
    ///
    /// One error that lists every fault: text that is no JSON, unknown fields, values of a
    /// wrong kind or out of their range.
    pub fn from_json(json: &str) -> Result<Self, ConfigError> {
        Self::from_value(&parse_json(json)?)
    }

    fn from_value(value: &Value) -> Result<Self, ConfigError> {
        let mut faults = Faults::default();
        let config = Self::read(value, "", &mut faults);
        faults.into_result(config)
    }

    /// Reads and checks. In place of what cannot be read stands a value that is in its range, or
    /// whose fault would have a path that is listed already.
    pub(crate) fn read(value: &Value, path: &str, faults: &mut Faults) -> Self {
        let mut config = Self::default();
        let Some(mut fields) = Fields::of(value, path, faults) else {
            return config;
        };
        if let Some((value, path)) = fields.take("trip_on") {
            config.trip_on = trips(value, &path, faults);
        }
        fields.duration("recovery_timeout", &mut config.recovery_timeout, faults);
        if let Some((value, path)) = fields.take_some("backoff", &mut config.backoff) {
            config.backoff = Some(backoff(value, &path, faults));
        }
        fields.count("success_threshold", &mut config.success_threshold, faults);
        if let Some((value, path)) =
            fields.take_some("half_open_max_calls", &mut config.half_open_max_calls)
        {
            config.half_open_max_calls = Some(count(value, &path, faults));
        }
        if let Some((value, path)) =
            fields.take_some("half_open_failure_rate", &mut config.half_open_failure_rate)
        {
            config.half_open_failure_rate = Some(number(value, &path, faults));
        }
        if let Some((value, path)) =
            fields.take_some("half_open_timeout", &mut config.half_open_timeout)
        {
            config.half_open_timeout = Some(duration(value, &path, faults));
        }
        if let Some((value, path)) = fields.take_some("ramp_up", &mut config.ramp_up) {
            config.ramp_up = Some(ramp_up(value, &path, faults));
        }
        if let Some((value, path)) = fields.take("snapshot_ttl") {
            config.snapshot_ttl = snapshot_ttl(value, &path, faults);
        }
        fields.count("history_retention_days", &mut config.history_retention_days, faults);
        fields.end(faults);
        config.check(path, faults);
        config
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_value(&value).map_err(D::Error::custom)
    }
}

fn trips(value: &Value, path: &str, faults: &mut Faults) -> Vec<Trip> {
    let Value::Array(rules) = value else {
        faults.add(path, "must be a list of rules");
        return Vec::new();
    };
    let rules = rules.iter().enumerate();
    rules.filter_map(|(index, rule)| trip(rule, &format!("{path}[{index}]"), faults)).collect()
}

fn trip(value: &Value, path: &str, faults: &mut Faults) -> Option<Trip> {
    const ALLOWED: &str =
        "must be an object with one field: consecutive_failures, failure_rate or slow_call_rate";
    let (name, value) = single(value, path, ALLOWED, faults)?;
    let path = join(path, name);
    match name {
        "consecutive_failures" => Some(Trip::ConsecutiveFailures(count(value, &path, faults))),
        "failure_rate" => {
            let mut fields = Fields::of(value, &path, faults)?;
            let threshold = fields.must("threshold", number, faults);
            let window = fields.must("window", window, faults).flatten();
            let minimum_calls = fields.minimum_calls(faults);
            fields.end(faults);
            Some(Trip::FailureRate { threshold: threshold?, window: window?, minimum_calls })
        }
        "slow_call_rate" => {
            let mut fields = Fields::of(value, &path, faults)?;
            let threshold = fields.must("threshold", number, faults);
            let slower_than = fields.must("slower_than", duration, faults);
            let window = fields.must("window", window, faults).flatten();
            let minimum_calls = fields.minimum_calls(faults);
            fields.end(faults);
            Some(Trip::SlowCallRate {
                threshold: threshold?,
                slower_than: slower_than?,
                window: window?,
                minimum_calls,
            })
        }
        _ => {
            faults.add(path, ALLOWED);
            None
        }
    }
}

fn window(value: &Value, path: &str, faults: &mut Faults) -> Option<Window> {
    const ALLOWED: &str = "must be an object with one field: calls or time";
    match single(value, path, ALLOWED, faults)? {
        ("calls", value) => Some(Window::Calls(count(value, &join(path, "calls"), faults))),
        ("time", value) => Some(Window::Time(duration(value, &join(path, "time"), faults))),
        (other, _) => {
            faults.add(join(path, other), ALLOWED);
            None
        }
    }
}

fn backoff(value: &Value, path: &str, faults: &mut Faults) -> Backoff {
    let mut backoff = Backoff::default();
    if let Some(mut fields) = Fields::of(value, path, faults) {
        fields.number("multiplier", &mut backoff.multiplier, faults);
        fields.duration("max", &mut backoff.max, faults);
        fields.number("jitter", &mut backoff.jitter, faults);
        fields.end(faults);
    }
    backoff
}

fn ramp_up(value: &Value, path: &str, faults: &mut Faults) -> RampUp {
    let mut ramp = RampUp::default();
    if let Some(mut fields) = Fields::of(value, path, faults) {
        fields.number("start", &mut ramp.start, faults);
        fields.duration("time", &mut ramp.time, faults);
        fields.end(faults);
    }
    ramp
}

fn snapshot_ttl(value: &Value, path: &str, faults: &mut Faults) -> SnapshotTtl {
    let mut ttl = SnapshotTtl::default();
    if let Some(mut fields) = Fields::of(value, path, faults) {
        fields.duration("open", &mut ttl.open, faults);
        fields.duration("closed", &mut ttl.closed, faults);
        fields.end(faults);
    }
    ttl
}

/// The name and the value of an object's only field.
fn single<'a>(
    value: &'a Value,
    path: &str,
    allowed: &str,
    faults: &mut Faults,
) -> Option<(&'a str, &'a Value)> {
    let mut fields = value.as_object().into_iter().flatten();
    if let (Some((name, value)), None) = (fields.next(), fields.next()) {
        Some((name, value))
    } else {
        faults.add(path, allowed);
        None
    }
}

fn count(value: &Value, path: &str, faults: &mut Faults) -> u32 {
    let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
    count.unwrap_or_else(|| {
        faults.add(path, format!("is {value}, must be a whole number from 1 to {}", u32::MAX));
        1
    })
}

fn number(value: &Value, path: &str, faults: &mut Faults) -> f64 {
    value.as_f64().unwrap_or_else(|| {
        faults.add(path, format!("is {value}, must be a number"));
        1.0
    })
}

fn duration(value: &Value, path: &str, faults: &mut Faults) -> Duration {
    let parsed = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
    parsed.unwrap_or_else(|| {
        let message =
            format!(r#"is {value}, must be a duration as text, such as "60s" or "1m 30s""#);
        faults.add(path, message);
        Duration::from_nanos(1)
    })
}

/// The fields of an object that have not been read yet.
struct Fields<'a> {
    path: &'a str,
    left: Map<String, Value>,
    known: Vec<&'static str>,
    /// Keeps what was taken alive for as long as its borrower.
    value: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn of(value: &'a Value, path: &'a str, faults: &mut Faults) -> Option<Self> {
        let Value::Object(value) = value else {
            faults.add(path, "must be an object");
            return None;
        };
        Some(Self { path, left: value.clone(), known: Vec::new(), value })
    }

    fn take(&mut self, name: &'static str) -> Option<(&'a Value, String)> {
        self.known.push(name);
        self.left.remove(name);
        Some((self.value.get(name)?, join(self.path, name)))
    }

    /// Like [`take`](Self::take), for a field that may be `null`.
    fn take_some<T>(
        &mut self,
        name: &'static str,
        field: &mut Option<T>,
    ) -> Option<(&'a Value, String)> {
        let taken = self.take(name)?;
        if taken.0.is_null() {
            *field = None;
            return None;
        }
        Some(taken)
    }

    fn must<T>(
        &mut self,
        name: &'static str,
        read: fn(&Value, &str, &mut Faults) -> T,
        faults: &mut Faults,
    ) -> Option<T> {
        if let Some((value, path)) = self.take(name) {
            return Some(read(value, &path, faults));
        }
        faults.add(join(self.path, name), "is missing");
        None
    }

    fn duration(&mut self, name: &'static str, field: &mut Duration, faults: &mut Faults) {
        if let Some((value, path)) = self.take(name) {
            *field = duration(value, &path, faults);
        }
    }

    fn number(&mut self, name: &'static str, field: &mut f64, faults: &mut Faults) {
        if let Some((value, path)) = self.take(name) {
            *field = number(value, &path, faults);
        }
    }

    fn count(&mut self, name: &'static str, field: &mut u32, faults: &mut Faults) {
        if let Some((value, path)) = self.take(name) {
            *field = count(value, &path, faults);
        }
    }

    fn minimum_calls(&mut self, faults: &mut Faults) -> u32 {
        let mut calls = Trip::DEFAULT_MINIMUM_CALLS;
        self.count("minimum_calls", &mut calls, faults);
        calls
    }

    /// What nobody has read is unknown.
    fn end(self, faults: &mut Faults) {
        for name in self.left.keys() {
            let message = format!("is no known field; known are {}", self.known.join(", "));
            faults.add(join(self.path, name), message);
        }
    }
}
