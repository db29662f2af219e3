//! What a trace expects after a step.

use std::time::Duration;

use serde_json::Value;
use tower_breaker::{Breaker, Trip};

use crate::{
    fields::{Fields, count, duration, text},
    trace::Admission,
};

/// What can be expected. `README.md` describes it.
pub(crate) const FIELDS: [&str; 6] =
    ["permitted", "state", "retry_after", "calls", "failures", "slow_calls"];

pub(crate) const STATES: [&str; 6] =
    ["closed", "open", "half_open", "forced_open", "disabled", "metrics_only"];

/// The expectations after each repetition of a step.
#[derive(Default)]
pub(crate) struct Expected {
    permitted: Option<bool>,
    state: Option<String>,
    retry_after: Option<RetryAfter>,
    calls: Option<u64>,
    failures: Option<u64>,
    slow_calls: Option<u64>,
}

/// The expected `retry_after` of a rejection, which may be none.
#[derive(PartialEq, Debug)]
struct RetryAfter(Option<Duration>);

impl Expected {
    pub(crate) fn read(value: Option<&Value>) -> Result<Self, String> {
        let Some(value) = value else { return Ok(Self::default()) };
        let mut fields = Fields::of(value, "expect")?;
        let mut number = |name| fields.take(name).map(|value| count(&value)).transpose();
        let (calls, failures, slow_calls) =
            (number("calls")?, number("failures")?, number("slow_calls")?);
        let state = fields.take("state").map(|state| text(&state)).transpose()?;
        if let Some(state) = state.as_deref().filter(|state| !STATES.contains(state)) {
            return Err(format!("unknown state {state:?}"));
        }
        let permitted = fields.take("permitted");
        let permitted = permitted
            .map(|value| value.as_bool().ok_or("permitted must be true or false"))
            .transpose()?;
        let retry_after = fields
            .take("retry_after")
            .map(|value| if value.is_null() { Ok(None) } else { duration(&value).map(Some) })
            .map(|time| time.map(RetryAfter))
            .transpose()?;
        fields.end()?;
        Ok(Self { permitted, state, retry_after, calls, failures, slow_calls })
    }

    pub(crate) fn check(&self, breaker: &Breaker, admission: &Admission) -> Result<(), String> {
        if let Some(permitted) = self.permitted {
            match admission {
                Admission::NotAsked => return Err("the step asks for no permit".to_owned()),
                Admission::Permitted => compare("permitted", &permitted, &true)?,
                Admission::Rejected(_) => compare("permitted", &permitted, &false)?,
            }
        }
        if let Some(retry_after) = &self.retry_after {
            let Admission::Rejected(rejected) = admission else {
                return Err("retry_after: the call was not rejected".to_owned());
            };
            compare("retry_after", retry_after, &RetryAfter(rejected.retry_after()))?;
        }
        if let Some(state) = &self.state {
            compare("state", &state.as_str(), &breaker.state().as_str())?;
        }
        let stats = breaker.stats();
        let is_rate = |rule: &Trip| !matches!(rule, Trip::ConsecutiveFailures(_));
        // Without a rate rule, a trace means the consecutive failures.
        let failures = if breaker.config().trip_on.iter().any(is_rate) {
            stats.window_failures()
        } else {
            stats.consecutive_failures().into()
        };
        for (name, expected, is) in [
            ("calls", self.calls, stats.window_calls()),
            ("failures", self.failures, failures),
            ("slow_calls", self.slow_calls, stats.window_slow_calls()),
        ] {
            expected.map_or(Ok(()), |expected| compare(name, &expected, &is))?;
        }
        Ok(())
    }
}

fn compare<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, is: &T) -> Result<(), String> {
    if expected == is {
        return Ok(());
    }
    Err(format!("{what}: expected {expected:?}, is {is:?}"))
}
