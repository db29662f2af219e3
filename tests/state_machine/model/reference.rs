//! The model: what the description of the state machine says, in the plainest words.

use super::run::{Operation, Seen};

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) rules: Vec<Rule>,
    pub(crate) recovery: u64,
    /// The multiplier, and what the maximum exceeds the recovery time by.
    pub(crate) backoff: Option<(u32, u64)>,
    pub(crate) threshold: u32,
    pub(crate) slots: u32,
    pub(crate) half_open_rate: Option<f64>,
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, Clone)]
pub(crate) enum Rule {
    Row(u32),
    Rate { kind: Kind, share: f64, size: usize, minimum: u32 },
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Failures,
    Slow(u64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Closed,
    Open { since: u64, until: u64 },
    HalfOpen,
    Forced,
    Disabled,
    MetricsOnly,
}

/// A call that is under way.
#[derive(Debug, Clone, Copy)]
struct Call {
    era: u32,
    admitted: u64,
    probe: bool,
}

/// Failed or not, and how long it took.
type Record = (bool, u64);

#[derive(Debug)]
pub(crate) struct Model {
    settings: Settings,
    now: u64,
    wall: i64,
    state: State,
    /// Counts transitions and restarts.
    era: u32,
    /// Every call since the windows were last emptied.
    history: Vec<Record>,
    row: u32,
    openings: u32,
    good_probes: u32,
    bad_probes: u32,
    under_way: Vec<Call>,
}

const HOUR: i64 = 3_600_000;

impl Model {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            now: 0,
            wall: 1_700_000_000_000,
            state: State::Closed,
            era: 0,
            history: Vec::new(),
            row: 0,
            openings: 0,
            good_probes: 0,
            bad_probes: 0,
            under_way: Vec::new(),
        }
    }

    pub(crate) fn perform(&mut self, operation: &Operation) -> Seen {
        let mut asked = None;
        let mut advanced = 0;
        match operation {
            Operation::Call { outcome, takes, hint } => {
                let admitted = self.admit();
                asked = Some(admitted.map(|_| ()));
                if let Ok(call) = admitted {
                    self.pass(*takes);
                    self.end(call, *outcome, *hint);
                }
            }
            Operation::Acquire => {
                let admitted = self.admit();
                asked = Some(admitted.map(|_| ()));
                self.under_way.extend(admitted);
            }
            Operation::Finish { which, outcome, hint } if !self.under_way.is_empty() => {
                let call = self.under_way.remove(which.index(self.under_way.len()));
                self.end(call, *outcome, *hint);
            }
            // A probe that is dropped is out no longer, and that is all.
            Operation::Drop(which) if !self.under_way.is_empty() => {
                self.under_way.remove(which.index(self.under_way.len()));
            }
            Operation::Finish { .. } | Operation::Drop(_) => {}
            Operation::Advance(by) => self.pass(*by),
            Operation::ToTheBorder(past) => {
                advanced = self.way_to_the_border(*past);
                self.pass(advanced);
            }
            Operation::Command(command) => self.command(*command),
            Operation::Restart { after, shift } => self.restart(*after, *shift),
        }
        self.catch_up();
        let (calls, failures, slow) = self.counts();
        Seen {
            asked,
            state: self.name(),
            calls,
            failures,
            consecutive_failures: self.row,
            slow,
            advanced,
        }
    }

    fn pass(&mut self, by: u64) {
        self.now += by;
        self.wall += i64::try_from(by).unwrap();
    }

    /// How far it is to the next moment at which time alone does something, give or take one.
    fn way_to_the_border(&mut self, past: i64) -> u64 {
        self.catch_up();
        let moment = match (self.state, self.deadline()) {
            (State::Open { until, .. }, _) => until,
            (State::HalfOpen, Some(deadline)) => deadline,
            _ => return 0,
        };
        (moment - self.now).saturating_add_signed(past)
    }

    fn deadline(&self) -> Option<u64> {
        let out = self.under_way.iter().filter(|call| call.probe && call.era == self.era);
        Some(out.map(|call| call.admitted).min()? + self.settings.timeout?)
    }

    fn catch_up(&mut self) {
        loop {
            match (self.state, self.deadline()) {
                (State::Open { until, .. }, _) if self.now >= until => self.half_open(),
                (State::HalfOpen, Some(deadline)) if self.now >= deadline => {
                    self.open(deadline, None);
                }
                _ => return,
            }
        }
    }

    fn admit(&mut self) -> Result<Call, Option<u64>> {
        self.catch_up();
        let call = Call { era: self.era, admitted: self.now, probe: self.state == State::HalfOpen };
        let probes = self.under_way.iter().filter(|call| call.probe && call.era == self.era);
        match self.state {
            State::Open { until, .. } => Err(Some(until - self.now)),
            State::Forced => Err(None),
            State::HalfOpen if probes.count() >= self.settings.slots as usize => Err(None),
            _ => Ok(call),
        }
    }

    fn end(&mut self, call: Call, outcome: u8, hint: Option<u64>) {
        // While it ends, a probe is still out: it may be too late.
        self.under_way.push(call);
        self.catch_up();
        self.under_way.pop();
        if call.era != self.era || outcome == 3 {
            return;
        }
        let took = self.now - call.admitted;
        let hint = if outcome == 0 { None } else { hint };
        match self.state {
            State::Closed | State::MetricsOnly => {
                self.history.push((outcome != 0, took));
                match outcome {
                    0 => self.row = 0,
                    1 => self.row += 1,
                    _ => {}
                }
                if self.state == State::Closed && self.trips() {
                    self.open(self.now, hint);
                }
            }
            State::HalfOpen => self.end_probe(outcome != 0 || self.is_slow(took), hint),
            _ => {}
        }
    }

    fn end_probe(&mut self, bad: bool, hint: Option<u64>) {
        if bad {
            self.bad_probes += 1;
        } else {
            self.good_probes += 1;
        }
        let results = self.good_probes + self.bad_probes;
        let decided = match self.settings.half_open_rate {
            None if bad => Some(true),
            None => (self.good_probes >= self.settings.threshold).then_some(false),
            Some(rate) => (results >= self.settings.threshold)
                .then(|| f64::from(self.bad_probes) / f64::from(results) >= rate),
        };
        match decided {
            None => {}
            Some(true) => self.open(self.now, hint),
            Some(false) => self.close(),
        }
    }

    fn is_slow(&self, took: u64) -> bool {
        self.settings
            .rules
            .iter()
            .any(|rule| matches!(rule, Rule::Rate { kind: Kind::Slow(limit), .. } if took > *limit))
    }

    fn last(&self, size: usize) -> &[Record] {
        &self.history[self.history.len().saturating_sub(size)..]
    }

    fn trips(&self) -> bool {
        self.settings.rules.iter().any(|rule| match rule {
            Rule::Row(limit) => self.row >= *limit,
            Rule::Rate { kind, share, size, minimum } => {
                let calls = self.last(*size);
                let bad = calls.iter().filter(|(failed, took)| match kind {
                    Kind::Failures => *failed,
                    Kind::Slow(limit) => took > limit,
                });
                calls.len() >= (*minimum as usize).min(*size)
                    && bad.count() as f64 / calls.len() as f64 >= *share
            }
        })
    }

    /// The calls, failures and slow calls of the first rate rule.
    fn counts(&self) -> (u64, u64, u64) {
        let first = self.settings.rules.iter().find_map(|rule| match rule {
            Rule::Rate { kind, size, .. } => Some((*kind, self.last(*size))),
            Rule::Row(_) => None,
        });
        let Some((kind, calls)) = first else {
            return (0, 0, 0);
        };
        let failures = calls.iter().filter(|(failed, _)| *failed).count();
        let slow = calls.iter().filter(|(_, took)| match kind {
            Kind::Slow(limit) => *took > limit,
            Kind::Failures => self.is_slow(*took),
        });
        (calls.len() as u64, failures as u64, slow.count() as u64)
    }

    fn open(&mut self, at: u64, hint: Option<u64>) {
        self.openings += 1;
        let mut time = self.settings.recovery;
        if let Some((multiplier, above)) = self.settings.backoff {
            let max = self.settings.recovery + above;
            for _ in 1..self.openings {
                time = (time * u64::from(multiplier)).min(max);
            }
            time = time.max(hint.unwrap_or(0).min(max));
        }
        self.state = State::Open { since: at, until: at + time };
        self.era += 1;
    }

    fn half_open(&mut self) {
        self.state = State::HalfOpen;
        (self.good_probes, self.bad_probes) = (0, 0);
        self.era += 1;
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.history.clear();
        (self.row, self.openings) = (0, 0);
        self.era += 1;
    }

    fn command(&mut self, command: u8) {
        self.catch_up();
        let state = match command {
            0 => State::Forced,
            1 => State::Disabled,
            2 => State::MetricsOnly,
            _ => return self.close(),
        };
        if state != self.state {
            self.state = state;
            self.era += 1;
        }
    }

    fn restart(&mut self, after: u64, shift: i64) {
        self.catch_up();
        let before = self.now;
        self.under_way.clear();
        self.era += 1;
        self.pass(after);
        self.wall += shift;
        let away = i64::try_from(after).unwrap() + shift;
        match &mut self.state {
            State::Closed if away > HOUR => {
                self.history.clear();
                (self.row, self.openings) = (0, 0);
            }
            State::Open { since, until } => {
                let longest =
                    self.settings.recovery + self.settings.backoff.map_or(0, |(_, above)| above);
                let left = i64::try_from(*until - before).unwrap() - away;
                let left = u64::try_from(left).unwrap_or(0).min(*until - before).min(longest);
                // The opening lies as far back as it did, by the wall clock.
                let age = i64::try_from(before - *since).unwrap() + away;
                *since = self.now.saturating_sub(u64::try_from(age).unwrap_or(0));
                *until = self.now + left;
            }
            _ => {}
        }
    }

    fn name(&self) -> &'static str {
        match self.state {
            State::Closed => "closed",
            State::Open { .. } => "open",
            State::HalfOpen => "half_open",
            State::Forced => "forced_open",
            State::Disabled => "disabled",
            State::MetricsOnly => "metrics_only",
        }
    }
}
