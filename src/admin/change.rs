//! Changes by hand.

use std::{borrow::Cow, time::Duration};

use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use serde::Deserialize;

use super::problem::Problem;
use crate::{handle::Breaker, manual::ManualChange};

/// The most characters of a note. None of them is cut off, whatever they are.
const MAX_NOTE: usize = ManualChange::MAX_NOTE / 4;

/// The most characters of a name.
const MAX_BY: usize = ManualChange::MAX_BY / 4;

/// What an operator can do to a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Trip,
    ForceOpen,
    Disable,
    MetricsOnly,
    Reset,
}

impl Action {
    pub(super) const ALL: [Self; 5] =
        [Self::Trip, Self::ForceOpen, Self::Disable, Self::MetricsOnly, Self::Reset];

    /// The last part of its path.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Trip => "trip",
            Self::ForceOpen => "force-open",
            Self::Disable => "disable",
            Self::MetricsOnly => "metrics-only",
            Self::Reset => "reset",
        }
    }

    pub(super) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == name)
    }

    pub(super) fn apply(self, breaker: &Breaker, change: ManualChange) {
        match self {
            Self::Trip => breaker.trip_with(change),
            Self::ForceOpen => breaker.force_open_with(change),
            Self::Disable => breaker.disable_with(change),
            Self::MetricsOnly => breaker.metrics_only_with(change),
            Self::Reset => breaker.reset_with(change),
        }
    }

    /// Reads the body of a change.
    pub(super) fn read(self, body: &[u8]) -> Result<ManualChange, Problem> {
        // An array would be read as the values of the fields.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(Problem::bad_request("the body is not a JSON object"));
        }
        let Format { note, by, time } = serde_json::from_slice(body)
            .map_err(|error| Problem::bad_request(format!("the body is not a change: {error}")))?;
        for (name, text, limit) in [("note", &note, MAX_NOTE), ("by", &by, MAX_BY)] {
            if text.chars().count() > limit {
                let detail = format!("\"{name}\" may have at most {limit} characters");
                return Err(Problem::bad_request(detail));
            }
        }
        let change = ManualChange::new().note(note).by(by);
        match time {
            None => Ok(change),
            Some(_) if self == Self::Reset => {
                Err(Problem::bad_request("a reset has no \"for\": it leaves no state to end"))
            }
            Some(_) if self == Self::Trip => {
                Err(Problem::bad_request("a trip has no \"for\": it lasts for the open time"))
            }
            Some(Duration::ZERO) => Err(Problem::bad_request("\"for\" must be longer than 0")),
            Some(time) => Ok(change.lasting(time)),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Format<'a> {
    #[serde(default, borrow)]
    note: Cow<'a, str>,
    #[serde(default, borrow)]
    by: Cow<'a, str>,
    #[serde(default, rename = "for", with = "humantime_serde")]
    time: Option<Duration>,
}

/// A form on another site can send text, but no JSON.
pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let mut values = headers.get_all(CONTENT_TYPE).into_iter();
    if let (Some(value), None) = (values.next(), values.next())
        && let Ok(value) = value.to_str()
        && let kind = value.split(';').next().unwrap_or_default().trim()
        && kind.eq_ignore_ascii_case("application/json")
    {
        return Ok(());
    }
    let detail = "a change needs the header \"Content-Type: application/json\"";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
}
