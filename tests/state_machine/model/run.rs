//! The breaker, driven by the same operations as the model.

use std::{sync::Arc, time::Duration};

use proptest::sample::Index;
use tower_breaker::{
    Backoff, Breaker, Config, Outcome, Permit, Trip, Window, clock::ManualClock, snapshot::Snapshot,
};

use super::reference::{Kind, Rule, Settings};

#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Call {
        outcome: u8,
        takes: u64,
        hint: Option<u64>,
    },
    Acquire,
    Finish {
        which: Index,
        outcome: u8,
        hint: Option<u64>,
    },
    Drop(Index),
    Advance(u64),
    /// To the next moment at which time alone does something, or one millisecond off.
    ToTheBorder(i64),
    Command(u8),
    Restart {
        after: u64,
        shift: i64,
    },
}

/// What can be seen after an operation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    /// Whether a call was admitted, or with which `retry_after` it was not; if one was made.
    pub(crate) asked: Option<Result<(), Option<u64>>>,
    pub(crate) state: &'static str,
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    pub(crate) consecutive_failures: u32,
    pub(crate) slow: u64,
    /// How far [`Operation::ToTheBorder`] went.
    pub(crate) advanced: u64,
}

pub(crate) struct Run {
    clock: ManualClock,
    breaker: Breaker,
    config: Arc<Config>,
    under_way: Vec<Permit>,
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn config(settings: &Settings) -> Config {
    let trip = |rule: &Rule| match *rule {
        Rule::Row(limit) => Trip::consecutive_failures(limit),
        Rule::Rate { kind, share, size, minimum } => {
            let window = Window::calls(u32::try_from(size).unwrap());
            let rule = match kind {
                Kind::Failures => Trip::failure_rate(share, window),
                Kind::Slow(limit) => Trip::slow_call_rate(share, millis(limit), window),
            };
            rule.minimum_calls(minimum)
        }
    };
    let mut config = Config::default();
    config.trip_on = settings.rules.iter().map(trip).collect();
    config.recovery_timeout = millis(settings.recovery);
    config.backoff = settings.backoff.map(|(multiplier, above)| {
        Backoff::new(multiplier.into(), millis(settings.recovery + above))
    });
    config.success_threshold = settings.threshold;
    config.half_open_max_calls = Some(settings.slots);
    config.half_open_failure_rate = settings.half_open_rate;
    config.half_open_timeout = settings.timeout.map(millis);
    config
}

fn outcome(outcome: u8, hint: Option<u64>) -> Outcome {
    let retry_after = hint.map(millis);
    match outcome {
        0 => Outcome::Success,
        1 => Outcome::failure().with_retry_after(retry_after),
        2 => Outcome::throttled().with_retry_after(retry_after),
        _ => Outcome::Ignore,
    }
}

impl Run {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self::of(config(settings))
    }

    /// A breaker that only records, into a time window.
    pub(crate) fn over_time(time: u64) -> Self {
        let mut config = Config::default();
        config.trip_on = vec![Trip::failure_rate(1.0, Window::time(millis(time)))];
        let run = Self::of(config);
        run.breaker.metrics_only();
        run
    }

    fn of(config: Config) -> Self {
        let (config, clock) = (Arc::new(config), ManualClock::new());
        let builder = Breaker::builder("model").config(Arc::clone(&config)).clock(clock.clone());
        Self { breaker: builder.build().unwrap(), clock, config, under_way: Vec::new() }
    }

    pub(crate) fn perform(&mut self, operation: &Operation, guide: &Seen) -> Seen {
        let mut asked = None;
        match operation {
            Operation::Call { outcome: ended, takes, hint } => {
                let permit = self.acquire(&mut asked);
                if let Some(permit) = permit {
                    self.advance(*takes);
                    permit.finish(outcome(*ended, *hint));
                }
            }
            Operation::Acquire => {
                let permit = self.acquire(&mut asked);
                self.under_way.extend(permit);
            }
            Operation::Finish { which, outcome: ended, hint } if !self.under_way.is_empty() => {
                let permit = self.under_way.remove(which.index(self.under_way.len()));
                permit.finish(outcome(*ended, *hint));
            }
            Operation::Drop(which) if !self.under_way.is_empty() => {
                drop(self.under_way.remove(which.index(self.under_way.len())));
            }
            Operation::Finish { .. } | Operation::Drop(_) => {}
            Operation::Advance(by) => self.advance(*by),
            Operation::ToTheBorder(_) => self.advance(guide.advanced),
            Operation::Command(0) => self.breaker.force_open(),
            Operation::Command(1) => self.breaker.disable(),
            Operation::Command(2) => self.breaker.metrics_only(),
            Operation::Command(_) => self.breaker.reset(),
            Operation::Restart { after, shift } => {
                self.under_way.clear();
                self.restart(*after, *shift);
            }
        }
        let state = self.breaker.state().as_str();
        let counts = self.breaker.stats();
        let (calls, failures, slow) =
            (counts.window_calls(), counts.window_failures(), counts.window_slow_calls());
        Seen {
            asked,
            state,
            calls,
            failures,
            consecutive_failures: counts.consecutive_failures(),
            slow,
            advanced: guide.advanced,
        }
    }

    fn acquire(&self, asked: &mut Option<Result<(), Option<u64>>>) -> Option<Permit> {
        let acquired = self.breaker.try_acquire();
        let whole = |time: Duration| u64::try_from(time.as_millis()).unwrap();
        *asked = Some(match &acquired {
            Ok(_) => Ok(()),
            Err(rejected) => Err(rejected.retry_after().map(whole)),
        });
        acquired.ok()
    }

    pub(crate) fn advance(&self, by: u64) {
        self.clock.advance(millis(by));
    }

    pub(crate) fn record(&self, failed: bool) {
        let permit = self.breaker.try_acquire().unwrap();
        permit.finish(if failed { Outcome::failure() } else { Outcome::Success });
    }

    pub(crate) fn counts(&self) -> (u64, u64) {
        let stats = self.breaker.stats();
        (stats.window_calls(), stats.window_failures())
    }

    /// Looks in every way there is.
    pub(crate) fn look(&self) {
        let _ = (self.breaker.state(), self.breaker.stats(), self.breaker.snapshot());
    }

    /// Through JSON, into a breaker with a clock of its own.
    pub(crate) fn restart(&mut self, after: u64, shift: i64) {
        let snapshot = self.breaker.snapshot();
        let json = snapshot.to_json().unwrap();
        let read = Snapshot::from_json(json.as_bytes()).unwrap();
        assert_eq!(read, snapshot);
        let wall = self.clock.wall() + millis(after);
        let by = millis(shift.unsigned_abs());
        let wall = if shift < 0 { wall - by } else { wall + by };
        self.clock = ManualClock::starting_at(wall);
        let builder = Breaker::builder("model").config(Arc::clone(&self.config));
        self.breaker = builder.clock(self.clock.clone()).restore(read).build().unwrap();
    }
}
