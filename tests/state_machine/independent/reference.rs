//! The state machine as its description reads, one call at a time, with nothing clever in it.

use std::collections::HashMap;

use tower_breaker::State;

use super::{
    plan::{Ending, Wait},
    settings::{Ramp, Rule, Settings},
    window::{Counts, Verdict, Window},
};

pub(crate) struct Reference {
    pub(crate) settings: Settings,
    now: u64,
    mode: Mode,
    /// Rises with every transition; a result of an earlier one changes nothing.
    generation: u64,
    row: u32,
    opens: u32,
    /// One for each rate rule.
    windows: Vec<Window>,
    under_way: HashMap<usize, Ticket>,
}

enum Mode {
    Closed { since: Option<u64>, credit: f64 },
    Open { until: u64, retuned: bool },
    HalfOpen { good: u32, bad: u32 },
    ByHand(State),
}

struct Ticket {
    generation: u64,
    at: u64,
}

/// What a call that asks is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) permitted: bool,
    pub(crate) retry_after: Option<u64>,
    pub(crate) rejected_by: Option<State>,
}

impl Reference {
    pub(crate) fn new(settings: Settings) -> Self {
        let windows = settings.rates().map(|_| Window::default()).collect();
        Self {
            settings,
            now: 0,
            mode: Mode::Closed { since: None, credit: 0.0 },
            generation: 0,
            row: 0,
            opens: 0,
            windows,
            under_way: HashMap::new(),
        }
    }

    pub(crate) fn state(&self) -> State {
        match self.mode {
            Mode::Closed { .. } => State::Closed,
            Mode::Open { .. } => State::Open,
            Mode::HalfOpen { .. } => State::HalfOpen,
            Mode::ByHand(state) => state,
        }
    }

    pub(crate) fn row(&self) -> u32 {
        self.row
    }

    /// What the first rate rule's window may say.
    pub(crate) fn counts(&self) -> Option<Vec<Counts>> {
        let rate = self.settings.rates().next()?;
        Some(self.windows[0].possible(rate, self.now))
    }

    pub(crate) fn is_under_way(&self, slot: usize) -> bool {
        self.under_way.contains_key(&slot)
    }

    /// Whether the circuit is open and has been told of other settings since.
    pub(crate) fn is_retuned(&self) -> bool {
        matches!(self.mode, Mode::Open { retuned: true, .. })
    }

    pub(crate) fn is_ramping(&self) -> bool {
        matches!(self.mode, Mode::Closed { since: Some(_), .. })
    }

    pub(crate) fn millis(&self, wait: Wait) -> u64 {
        let (time, offset) = match wait {
            Wait::Millis(millis) => (millis, 0),
            Wait::Slow(offset) => {
                let limit = self.settings.rates().find_map(|rate| rate.slower_than);
                (limit.unwrap_or(1), offset)
            }
            Wait::Boundary(offset) => (self.boundary().map_or(1, |at| at - self.now), offset),
        };
        time.saturating_add_signed(offset)
    }

    pub(crate) fn advance(&mut self, by: u64) {
        self.now += by;
        self.settle();
    }

    /// Asks for a call. Where a hair of rounding decides, what was `seen` is taken for right.
    pub(crate) fn ask(&mut self, slot: usize, seen: bool) -> Answer {
        let state = self.state();
        let (now, probes) = (self.now, self.probes().count());
        let mut retry_after = None;
        let permitted = match &mut self.mode {
            Mode::Closed { since: Some(since), credit } => {
                let Ramp { start_percent, time } = self.settings.ramp.expect("only with a ramp");
                let start = start_percent as f64 / 100.0;
                let grown = (now - *since) as f64 / time as f64;
                *credit += start + (1.0 - start) * grown;
                let admit = if (*credit - 1.0).abs() < 1e-6 { seen } else { *credit > 1.0 };
                *credit -= f64::from(u8::from(admit));
                admit
            }
            Mode::Closed { since: None, .. }
            | Mode::ByHand(State::Disabled | State::MetricsOnly) => true,
            Mode::Open { until, .. } => {
                retry_after = Some(*until - now);
                false
            }
            Mode::HalfOpen { .. } => probes < self.settings.probe_limit(),
            Mode::ByHand(_) => false,
        };
        if permitted {
            let ticket = Ticket { generation: self.generation, at: now };
            assert!(self.under_way.insert(slot, ticket).is_none(), "one call a slot");
        }
        Answer { permitted, retry_after, rejected_by: (!permitted).then_some(state) }
    }

    /// Records a result. Where the resolution of a time window leaves it open whether the
    /// circuit trips, it does so if `seen` says that it did.
    pub(crate) fn finish(&mut self, slot: usize, ending: Ending, took: Option<u64>, seen: bool) {
        let ticket = self.under_way.remove(&slot).expect("a call under way");
        if ticket.generation != self.generation {
            return;
        }
        let (failed, asked) = match ending {
            Ending::Success => (false, None),
            Ending::Failure(asked) | Ending::Throttled(asked) => (true, asked),
            Ending::Ignore => return,
        };
        let took = took.unwrap_or(self.now - ticket.at);
        match self.mode {
            Mode::Closed { .. } => {
                self.put(ending, failed, took);
                let verdict = self.ask_rules();
                if verdict == Verdict::Trip || verdict == Verdict::Either && seen {
                    self.open(self.now, asked);
                }
            }
            Mode::ByHand(State::MetricsOnly) => self.put(ending, failed, took),
            Mode::HalfOpen { ref mut good, ref mut bad } => {
                let is_bad = failed || self.settings.is_slow(took);
                *(if is_bad { bad } else { good }) += 1;
                self.judge_probes(asked);
            }
            Mode::ByHand(_) | Mode::Open { .. } => {}
        }
    }

    pub(crate) fn cancel(&mut self, slot: usize) {
        self.under_way.remove(&slot).expect("a call under way");
    }

    pub(crate) fn set_by_hand(&mut self, state: State) {
        // To set the state that is set is no transition.
        if self.state() != state {
            self.enter(Mode::ByHand(state));
        }
    }

    pub(crate) fn reset(&mut self) {
        self.clear();
        self.enter(Mode::Closed { since: None, credit: 0.0 });
    }

    /// Other numbers for the same rules.
    pub(crate) fn update(&mut self, settings: Settings) {
        self.settings = settings;
        if let Mode::Open { retuned, .. } = &mut self.mode {
            *retuned = true;
        }
        for (window, rate) in self.windows.iter_mut().zip(self.settings.rates()) {
            window.shrink(rate);
        }
    }

    /// A restart during which the wall clock moved by `by`: what was under way is gone, and what
    /// is left of the open time is what the wall clock says, up to the whole of it.
    pub(crate) fn restart(&mut self, by: i64) {
        self.under_way.clear();
        let passed = u64::try_from(by).unwrap_or(0);
        if let Mode::Open { until, .. } = &mut self.mode {
            // A clock that went back adds nothing to what was left.
            let left = *until - self.now;
            *until = self.now + passed + left.saturating_sub(passed);
        }
        self.now += passed;
        self.settle();
    }

    fn probes(&self) -> impl Iterator<Item = &Ticket> {
        self.under_way.values().filter(|ticket| ticket.generation == self.generation)
    }

    /// When the oldest probe that is out has been out for too long.
    fn probe_deadline(&self) -> Option<u64> {
        if !matches!(self.mode, Mode::HalfOpen { .. }) {
            return None;
        }
        Some(self.probes().map(|probe| probe.at).min()? + self.settings.probe_timeout?)
    }

    /// When time alone is about to change something.
    fn boundary(&self) -> Option<u64> {
        match self.mode {
            Mode::Open { until, .. } => Some(until),
            Mode::HalfOpen { .. } => self.probe_deadline(),
            Mode::Closed { since: Some(since), .. } => Some(since + self.settings.ramp?.time),
            Mode::Closed { .. } | Mode::ByHand(_) => {
                let mut windows = self.windows.iter().zip(self.settings.rates());
                windows.find_map(|(window, rate)| window.next_to_go(rate, self.now))
            }
        }
    }

    /// What time alone does, each at its moment.
    fn settle(&mut self) {
        loop {
            match self.mode {
                Mode::Open { until, .. } if until <= self.now => {
                    self.enter(Mode::HalfOpen { good: 0, bad: 0 });
                }
                _ => match self.probe_deadline() {
                    Some(deadline) if deadline <= self.now => self.open(deadline, None),
                    _ => break,
                },
            }
        }
        if let (Mode::Closed { since, .. }, Some(ramp)) = (&mut self.mode, self.settings.ramp) {
            *since = since.filter(|since| self.now - since < ramp.time);
        }
    }

    fn put(&mut self, ending: Ending, failed: bool, took: u64) {
        for (window, rate) in self.windows.iter_mut().zip(self.settings.rates()) {
            // A failure rule does not say what is slow: there it is what is slow to another.
            let limit = rate.slower_than;
            let is_slow = limit.map_or_else(|| self.settings.is_slow(took), |limit| took > limit);
            window.put(rate, self.now, failed, is_slow);
        }
        match ending {
            Ending::Success => self.row = 0,
            Ending::Failure(_) => self.row += 1,
            Ending::Throttled(_) | Ending::Ignore => {}
        }
    }

    fn ask_rules(&self) -> Verdict {
        let mut windows = self.windows.iter();
        let verdicts = self.settings.rules.iter().map(|rule| match rule {
            Rule::Row(limit) if self.row >= *limit => Verdict::Trip,
            Rule::Row(_) => Verdict::Hold,
            Rule::Rate(rate) => windows.next().expect("one a rule").verdict(rate, self.now),
        });
        verdicts.max().unwrap_or(Verdict::Hold)
    }

    fn judge_probes(&mut self, asked: Option<u64>) {
        let Mode::HalfOpen { good, bad } = self.mode else { unreachable!("only while half-open") };
        let needed = self.settings.success_threshold;
        let opens = match self.settings.probe_failure_percent {
            None if bad > 0 => true,
            None if good >= needed => false,
            Some(percent) if good + bad >= needed => {
                u64::from(bad) * 100 >= percent * u64::from(good + bad)
            }
            _ => return,
        };
        if opens {
            self.open(self.now, asked);
        } else {
            self.clear();
            self.enter(Mode::Closed { since: self.settings.ramp.map(|_| self.now), credit: 0.0 });
        }
    }

    fn open(&mut self, at: u64, asked: Option<u64>) {
        self.opens += 1;
        let length = self.settings.open_time(self.opens, asked);
        self.enter(Mode::Open { until: at + length, retuned: false });
    }

    fn clear(&mut self) {
        (self.row, self.opens) = (0, 0);
        self.windows.fill_with(Window::default);
    }

    fn enter(&mut self, mode: Mode) {
        self.mode = mode;
        self.generation += 1;
    }
}
