//! The fields of a trace's objects.

use std::time::Duration;

use serde_json::{Map, Value};
use tower_breaker::{Config, Outcome};

/// The fields of an object. Fields that are not taken are an error.
pub(crate) struct Fields {
    what: &'static str,
    pub(crate) left: Map<String, Value>,
}

impl Fields {
    pub(crate) fn of(value: &Value, what: &'static str) -> Result<Self, String> {
        let left = value.as_object().ok_or_else(|| format!("{what} must be an object"))?.clone();
        Ok(Self { what, left })
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name)
    }

    /// A duration, or zero.
    pub(crate) fn time(&mut self, name: &str) -> Result<Duration, String> {
        self.take(name).map_or(Ok(Duration::ZERO), |time| duration(&time))
    }

    pub(crate) fn must(&mut self, name: &str) -> Result<Value, String> {
        self.take(name).ok_or_else(|| format!("{} must have {name}", self.what))
    }

    pub(crate) fn end(self) -> Result<(), String> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("unknown field {name} in {}", self.what)),
        }
    }
}

pub(crate) fn outcome(value: &Value, fields: &mut Fields) -> Result<Outcome, String> {
    let retry_after = fields.take("retry_after").map(|value| duration(&value)).transpose()?;
    let outcome = match (text(value)?.as_str(), retry_after) {
        ("success", None) => Outcome::Success,
        ("ignore", None) => Outcome::Ignore,
        ("failure", retry_after) => Outcome::failure().with_retry_after(retry_after),
        ("throttled", retry_after) => Outcome::throttled().with_retry_after(retry_after),
        ("success" | "ignore", Some(_)) => {
            return Err("only what failed has retry_after".to_owned());
        }
        (other, _) => return Err(format!("unknown outcome {other:?}")),
    };
    Ok(outcome)
}

pub(crate) fn read_config(value: &Value) -> Result<Config, String> {
    serde_json::from_value(value.clone()).map_err(|error| error.to_string())
}

pub(crate) fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("{value} must be a string"))
}

pub(crate) fn count(value: &Value) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| format!("{value} must be a whole number"))
}

pub(crate) fn duration(value: &Value) -> Result<Duration, String> {
    parse_duration(&text(value)?)
}

pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{text:?} is not a duration: {error}"))
}
