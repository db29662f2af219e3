//! Traces: the behaviour of a breaker as data, replayed on a manual clock.
//!
//! Anything unknown in a trace is an error. If it were ignored, the trace would seem to hold.

use std::{collections::HashMap, time::Duration};

use serde_json::{Map, Value};
use tower_breaker::{
    Breaker, Config, Permit, Rejected, clock::ManualClock, config::CallMetrics, snapshot::Snapshot,
};

use crate::{
    action::{Action, ByHand, Shift},
    expected::Expected,
    fields::{Fields, count, read_config, text},
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
    let config = read_config(&config).map_err(within)?;
    // Calls that are not counted for metrics take other paths.
    for call_metrics in [CallMetrics::Counts, CallMetrics::Off] {
        let mut player = Player::new(config.clone(), call_metrics).map_err(within)?;
        for (index, step) in steps.iter().enumerate() {
            let place = |error: String| within(format!("step {}, {step}: {error}", index + 1));
            player.step(step).map_err(place)?;
        }
    }
    Ok(())
}

struct Player {
    clock: ManualClock,
    breaker: Breaker,
    call_metrics: CallMetrics,
    /// The calls under way.
    under_way: HashMap<String, Permit>,
}

/// The results of a step that a trace can have expectations of.
pub(crate) enum Admission {
    NotAsked,
    Permitted,
    Rejected(Rejected),
}

impl Player {
    fn new(mut config: Config, call_metrics: CallMetrics) -> Result<Self, String> {
        let clock = ManualClock::new();
        config.call_metrics = call_metrics;
        let breaker = Breaker::builder("trace").config(config).clock(clock.clone()).build();
        let breaker = breaker.map_err(|error| error.to_string())?;
        Ok(Self { clock, breaker, call_metrics, under_way: HashMap::new() })
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
                let mut config = config.clone();
                config.call_metrics = self.call_metrics;
                self.breaker.update(config).map_err(|error| error.to_string())?;
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
