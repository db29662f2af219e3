//! Traces: the behaviour of a breaker as data, replayed on a manual clock.
//!
//! Anything unknown in a trace is an error. If it were ignored, the trace would seem to hold.

use std::{
    collections::HashMap,
    panic::{self, AssertUnwindSafe},
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value};
use tower_breaker::{
    Breaker, Config, Outcome, Permit, Rejected, Trip, clock::ManualClock, snapshot::Snapshot,
};

/// Plays a trace or a list of traces. The error has one line for each trace that fails, with the
/// place of the failure.
pub(crate) fn play(json: &str) -> Result<usize, String> {
    let value = crate::strict_json::parse(json).map_err(|error| format!("no JSON: {error}"))?;
    let traces = match value {
        Value::Array(traces) => traces,
        trace => vec![trace],
    };
    if traces.is_empty() {
        return Err("an empty list of traces".to_owned());
    }
    let errors: Vec<_> = traces.iter().filter_map(|trace| play_one(trace).err()).collect();
    if errors.is_empty() { Ok(traces.len()) } else { Err(errors.join("\n")) }
}

fn play_one(trace: &Value) -> Result<(), String> {
    let mut fields = Fields::of(trace, "a trace")?;
    let name = text(&fields.must("name")?)?;
    let within = |error: String| format!("{name:?}: {error}");
    fields.take("source").map(|source| text(&source)).transpose().map_err(within)?;
    let config = fields.take("config").unwrap_or_else(|| Value::Object(Map::new()));
    let steps = fields.must("steps").map_err(within)?;
    fields.end().map_err(within)?;
    let steps = steps.as_array().filter(|steps| !steps.is_empty());
    let steps =
        steps.ok_or_else(|| within("steps must be a list with something in it".to_owned()))?;
    let mut player = Player::new(read_config(&config).map_err(within)?).map_err(within)?;
    for (index, step) in steps.iter().enumerate() {
        let place = |error: String| within(format!("step {}, {step}: {error}", index + 1));
        player.step(step).map_err(place)?;
    }
    Ok(())
}

struct Player {
    clock: ManualClock,
    breaker: Breaker,
    /// The calls under way.
    under_way: HashMap<String, Permit>,
}

/// The results of a step that a trace can have expectations of.
enum Admission {
    NotAsked,
    Permitted,
    Rejected(Rejected),
}

impl Player {
    fn new(config: Config) -> Result<Self, String> {
        let clock = ManualClock::new();
        let breaker = Breaker::builder("trace").config(config).clock(clock.clone()).build();
        let breaker = breaker.map_err(|error| error.to_string())?;
        Ok(Self { clock, breaker, under_way: HashMap::new() })
    }

    fn step(&mut self, step: &Value) -> Result<(), String> {
        let mut fields = Fields::of(step, "a step")?;
        let expected = fields.take("expect");
        let repeat = fields.take("repeat").map_or(Ok(1), |value| count(&value))?;
        if repeat == 0 {
            return Err("repeat must be at least 1".to_owned());
        }
        let action = Action::read(&mut fields)?;
        fields.end()?;
        let expected = Expected::read(expected.as_ref())?;
        for repetition in 1..=repeat {
            let place = |error: String| match repeat {
                1 => error,
                _ => format!("repetition {repetition}: {error}"),
            };
            let admission = self.act(&action).map_err(place)?;
            expected.check(&self.breaker, &admission).map_err(place)?;
        }
        Ok(())
    }

    fn act(&mut self, action: &Action) -> Result<Admission, String> {
        match action {
            Action::Call { ending, takes } => {
                return Ok(match self.breaker.try_acquire() {
                    Err(rejected) => Admission::Rejected(rejected),
                    Ok(permit) => {
                        self.clock.advance(*takes);
                        ending.apply(permit);
                        Admission::Permitted
                    }
                });
            }
            Action::Acquire(label) => {
                if self.under_way.contains_key(label) {
                    return Err(format!("the label {label:?} is used already"));
                }
                return Ok(match self.breaker.try_acquire() {
                    Err(rejected) => Admission::Rejected(rejected),
                    Ok(permit) => {
                        self.under_way.insert(label.clone(), permit);
                        Admission::Permitted
                    }
                });
            }
            Action::End { label, ending, after } => {
                let permit = self.take(label)?;
                self.clock.advance(*after);
                ending.apply(permit);
            }
            Action::Advance(by) => self.clock.advance(*by),
            Action::ByHand(command, None) => match command {
                ByHand::ForceOpen => self.breaker.force_open(),
                ByHand::Disable => self.breaker.disable(),
                ByHand::MetricsOnly => self.breaker.metrics_only(),
            },
            Action::ByHand(command, Some(time)) => match command {
                ByHand::ForceOpen => self.breaker.force_open_for(*time),
                ByHand::Disable => self.breaker.disable_for(*time),
                ByHand::MetricsOnly => self.breaker.metrics_only_for(*time),
            },
            Action::Trip => self.breaker.trip(),
            Action::Reset => self.breaker.reset(),
            Action::Restart { after, wall_clock } => self.restart(*after, *wall_clock)?,
            Action::Update(config) => {
                self.breaker.update(config.clone()).map_err(|error| error.to_string())?;
            }
        }
        Ok(Admission::NotAsked)
    }

    fn take(&mut self, label: &str) -> Result<Permit, String> {
        let permit = self.under_way.remove(label);
        permit.ok_or_else(|| format!("no call {label:?} is under way"))
    }

    /// Restores the snapshot, through JSON, in a breaker with a new monotonic clock and a shifted
    /// wall clock. Calls under way stay with the old breaker, so their results come late.
    fn restart(&mut self, after: Duration, wall_clock: Shift) -> Result<(), String> {
        let json = self.breaker.snapshot().to_json().map_err(|error| error.to_string())?;
        let snapshot = Snapshot::from_json(json.as_bytes()).map_err(|error| error.to_string())?;
        let config = self.breaker.config();
        self.clock = ManualClock::starting_at(wall_clock.apply(self.clock.wall() + after)?);
        let builder = Breaker::builder("trace").config(config).clock(self.clock.clone());
        self.breaker = builder.restore(snapshot).build().map_err(|error| error.to_string())?;
        Ok(())
    }
}

/// How a call ends.
#[derive(Clone, Copy)]
enum Ending {
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

    fn apply(self, permit: Permit) {
        match self {
            Self::Finish(outcome) => permit.finish(outcome),
            Self::Drop => drop(permit),
            Self::Cancel => permit.cancel(),
            Self::Panic => {
                // Resumed, because a panic that begins would be reported.
                let panics = || -> Result<(), ()> { panic::resume_unwind(Box::new("a call")) };
                let work = AssertUnwindSafe(|| permit.call_blocking(panics));
                assert!(panic::catch_unwind(work).is_err(), "the panic goes on");
            }
        }
    }
}

#[derive(Clone, Copy)]
enum ByHand {
    ForceOpen,
    Disable,
    MetricsOnly,
}

enum Action {
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
    fn read(fields: &mut Fields) -> Result<Self, String> {
        const KINDS: [&str; 17] = [
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
enum Shift {
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

    fn apply(self, wall: SystemTime) -> Result<SystemTime, String> {
        let shifted = match self {
            Self::None => Some(wall),
            Self::Forward(by) => wall.checked_add(by),
            Self::Back(by) => wall.checked_sub(by),
        };
        shifted.ok_or_else(|| "the wall clock cannot show that".to_owned())
    }
}

/// The expectations after each repetition of a step.
#[derive(Default)]
struct Expected {
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
    fn read(value: Option<&Value>) -> Result<Self, String> {
        const STATES: [&str; 6] =
            ["closed", "open", "half_open", "forced_open", "disabled", "metrics_only"];
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

    fn check(&self, breaker: &Breaker, admission: &Admission) -> Result<(), String> {
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

/// The fields of an object. Fields that are not taken are an error.
struct Fields {
    what: &'static str,
    left: Map<String, Value>,
}

impl Fields {
    fn of(value: &Value, what: &'static str) -> Result<Self, String> {
        let left = value.as_object().ok_or_else(|| format!("{what} must be an object"))?.clone();
        Ok(Self { what, left })
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name)
    }

    /// A duration, or zero.
    fn time(&mut self, name: &str) -> Result<Duration, String> {
        self.take(name).map_or(Ok(Duration::ZERO), |time| duration(&time))
    }

    fn must(&mut self, name: &str) -> Result<Value, String> {
        self.take(name).ok_or_else(|| format!("{} must have {name}", self.what))
    }

    fn end(self) -> Result<(), String> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("unknown field {name} in {}", self.what)),
        }
    }
}

fn outcome(value: &Value, fields: &mut Fields) -> Result<Outcome, String> {
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

fn read_config(value: &Value) -> Result<Config, String> {
    serde_json::from_value(value.clone()).map_err(|error| error.to_string())
}

fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("{value} must be a string"))
}

fn count(value: &Value) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| format!("{value} must be a whole number"))
}

fn duration(value: &Value) -> Result<Duration, String> {
    parse_duration(&text(value)?)
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{text:?} is not a duration: {error}"))
}
