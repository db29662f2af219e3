//! What a step of a trace does.

use std::{
    panic::{self, AssertUnwindSafe},
    time::{Duration, SystemTime},
};

use serde_json::Value;
use tower_breaker::{Config, Outcome, Permit};

use crate::fields::{Fields, duration, outcome, parse_duration, read_config, text};

/// How a call ends.
#[derive(Clone, Copy)]
pub(crate) enum Ending {
    Finish(Outcome),
    /// Its permit is dropped.
    Drop,
    Cancel,
    /// It panics.
    Panic,
}

impl Ending {
    fn read(value: &Value, fields: &mut Fields) -> Result<Self, String> {
        Ok(match text(value)?.as_str() {
            "drop" => Self::Drop,
            "cancel" => Self::Cancel,
            "panic" => Self::Panic,
            _ => Self::Finish(outcome(value, fields)?),
        })
    }

    pub(crate) fn apply(self, permit: Permit) {
        match self {
            Self::Finish(outcome) => permit.finish(outcome),
            Self::Drop => drop(permit),
            Self::Cancel => permit.cancel(),
            Self::Panic => {
                // Resumed, because a panic that begins would be reported.
                let panics = || -> Result<(), ()> { panic::resume_unwind(Box::new("a call")) };
                let work = AssertUnwindSafe(|| permit.call_blocking(panics));
                assert!(panic::catch_unwind(work).is_err(), "the panic propagates");
            }
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) enum ByHand {
    ForceOpen,
    Disable,
    MetricsOnly,
}

/// The kinds of steps. `README.md` describes them.
pub(crate) const KINDS: [&str; 17] = [
    "call",
    "acquire",
    "finish",
    "drop",
    "cancel",
    "panic",
    "advance",
    "force_open",
    "force_open_for",
    "disable",
    "disable_for",
    "metrics_only",
    "metrics_only_for",
    "trip",
    "reset",
    "restart",
    "update",
];

pub(crate) enum Action {
    Call {
        ending: Ending,
        takes: Duration,
    },
    Acquire(String),
    End {
        label: String,
        ending: Ending,
        after: Duration,
    },
    Advance(Duration),
    /// Sets a state by hand; with a time, for that time.
    ByHand(ByHand, Option<Duration>),
    Trip,
    Reset,
    Restart {
        after: Duration,
        wall_clock: Shift,
    },
    Update(Config),
}

impl Action {
    pub(crate) fn read(fields: &mut Fields) -> Result<Self, String> {
        let mut kinds = KINDS.iter().filter(|kind| fields.left.contains_key(**kind));
        let kind = *kinds.next().ok_or("the step has an unknown kind")?;
        if let Some(other) = kinds.next() {
            return Err(format!("the step has two kinds, {kind} and {other}"));
        }
        let value = fields.must(kind)?;
        let flags = ["force_open", "disable", "metrics_only", "trip", "reset", "restart"];
        if flags.contains(&kind) && value != true {
            return Err(format!("{kind} must be true"));
        }
        Ok(match kind {
            "call" => {
                Self::Call { ending: Ending::read(&value, fields)?, takes: fields.time("takes")? }
            }
            "acquire" => Self::Acquire(text(&value)?),
            "finish" => {
                let ended = fields.must("outcome")?;
                Self::end(&value, Ending::Finish(outcome(&ended, fields)?), fields)?
            }
            "drop" => Self::end(&value, Ending::Drop, fields)?,
            "cancel" => Self::end(&value, Ending::Cancel, fields)?,
            "panic" => Self::end(&value, Ending::Panic, fields)?,
            "advance" => Self::Advance(duration(&value)?),
            "force_open" => Self::ByHand(ByHand::ForceOpen, None),
            "disable" => Self::ByHand(ByHand::Disable, None),
            "metrics_only" => Self::ByHand(ByHand::MetricsOnly, None),
            "force_open_for" => Self::ByHand(ByHand::ForceOpen, Some(duration(&value)?)),
            "disable_for" => Self::ByHand(ByHand::Disable, Some(duration(&value)?)),
            "metrics_only_for" => Self::ByHand(ByHand::MetricsOnly, Some(duration(&value)?)),
            "trip" => Self::Trip,
            "reset" => Self::Reset,
            "restart" => Self::Restart {
                after: fields.time("after")?,
                wall_clock: fields
                    .take("wall_clock")
                    .map_or(Ok(Shift::None), |by| Shift::read(&by))?,
            },
            _ => Self::Update(read_config(&value)?),
        })
    }

    /// The end of a call under way; with `after`, time passes before.
    fn end(label: &Value, ending: Ending, fields: &mut Fields) -> Result<Self, String> {
        Ok(Self::End { label: text(label)?, ending, after: fields.time("after")? })
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Shift {
    None,
    Forward(Duration),
    Back(Duration),
}

impl Shift {
    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value)?;
        let parsed = |by: &str| parse_duration(by);
        Ok(match (text.strip_prefix('-'), text.strip_prefix('+')) {
            (Some(by), _) => Self::Back(parsed(by)?),
            (_, Some(by)) => Self::Forward(parsed(by)?),
            _ => Self::Forward(parsed(&text)?),
        })
    }

    pub(crate) fn apply(self, wall: SystemTime) -> Result<SystemTime, String> {
        let shifted = match self {
            Self::None => Some(wall),
            Self::Forward(by) => wall.checked_add(by),
            Self::Back(by) => wall.checked_sub(by),
        };
        shifted.ok_or_else(|| "the wall clock cannot show that".to_owned())
    }
}
