//! The model: the state machine as its description reads, one call at a time, with every result
//! kept in a list.

use std::collections::HashMap;

use tower_breaker::State;

use super::{
    plan::{Ending, Wait},
    settings::{Ramp, Rule, Settings},
    window::{Counts, Verdict, Window},
};

#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) settings: Settings,
    now: u64,
    mode: Mode,
    /// Rises with every transition. The result of a call from an earlier one changes nothing.
    generation: u64,
    consecutive_failures: u32,
    consecutive_opens: u32,
    /// One for each rate rule.
    windows: Vec<Window>,
    under_way: HashMap<usize, Call>,
}

#[derive(Clone)]
enum Mode {
    Closed {
        ramp_since: Option<u64>,
        credit: f64,
    },
    Open {
        until: u64,
        updated: bool,
    },
    /// `wasted` adds up the times of the probes that ended without a result since the last one.
    HalfOpen {
        good: u32,
        bad: u32,
        wasted: u64,
    },
    ByHand {
        state: State,
        until: Option<u64>,
    },
}

#[derive(Clone)]
struct Call {
    generation: u64,
    admitted_at: u64,
}

/// The answer to a call that asks for admission.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) permitted: bool,
    pub(crate) retry_after: Option<u64>,
    pub(crate) rejected_by: Option<State>,
}

impl Model {
    pub(crate) fn new(settings: Settings) -> Self {
        let windows = settings.rates().map(|_| Window::default()).collect();
        Self {
            settings,
            now: 0,
            mode: Mode::Closed { ramp_since: None, credit: 0.0 },
            generation: 0,
            consecutive_failures: 0,
            consecutive_opens: 0,
            windows,
            under_way: HashMap::new(),
        }
    }

    pub(crate) fn state(&self) -> State {
        match self.mode {
            Mode::Closed { .. } => State::Closed,
            Mode::Open { .. } => State::Open,
            Mode::HalfOpen { .. } => State::HalfOpen,
            Mode::ByHand { state, .. } => state,
        }
    }

    pub(crate) fn consecutive_failures(&self) -> u32 {
        self.consecutive_failures
    }

    /// The counts that the first rate rule's window may report.
    pub(crate) fn counts(&self) -> Option<Vec<Counts>> {
        let rate = self.settings.rates().next()?;
        Some(self.windows[0].possible(rate, self.now))
    }

    pub(crate) fn is_under_way(&self, slot: usize) -> bool {
        self.under_way.contains_key(&slot)
    }

    /// Whether the settings were updated while the circuit is open.
    pub(crate) fn is_open_and_updated(&self) -> bool {
        matches!(self.mode, Mode::Open { updated: true, .. })
    }

    pub(crate) fn is_ramping(&self) -> bool {
        matches!(self.mode, Mode::Closed { ramp_since: Some(_), .. })
    }

    pub(crate) fn millis(&self, wait: Wait) -> u64 {
        let (time, offset) = match wait {
            Wait::Millis(millis) => (millis, 0),
            Wait::UntilSlow(offset) => {
                let limit = self.settings.rates().find_map(|rate| rate.slower_than);
                (limit.unwrap_or(1), offset)
            }
            Wait::UntilAbandoned(offset) => (self.settings.abandoned_after.unwrap_or(1), offset),
            Wait::UntilExpiry(offset) => (self.settings.closed_ttl, offset),
            Wait::UntilBoundary(offset) => (self.boundary().map_or(1, |at| at - self.now), offset),
        };
        time.saturating_add_signed(offset)
    }

    pub(crate) fn advance(&mut self, by: u64) {
        self.now += by;
        self.catch_up();
    }

    /// Asks for admission. Where floating-point rounding decides, `seen` is right.
    pub(crate) fn acquire(&mut self, slot: usize, seen: bool) -> Decision {
        let state = self.state();
        let (now, probes) = (self.now, self.probes().count());
        let mut retry_after = None;
        let permitted = match &mut self.mode {
            Mode::Closed { ramp_since: Some(since), credit } => {
                let Ramp { start_percent, time } = self.settings.ramp.expect("only with a ramp");
                let start = start_percent as f64 / 100.0;
                let grown = (now - *since) as f64 / time as f64;
                *credit += start + (1.0 - start) * grown;
                let admit = if (*credit - 1.0).abs() < 1e-6 { seen } else { *credit > 1.0 };
                *credit -= f64::from(u8::from(admit));
                admit
            }
            Mode::Closed { ramp_since: None, .. }
            | Mode::ByHand { state: State::Disabled | State::MetricsOnly, .. } => true,
            Mode::Open { until, .. } => {
                retry_after = Some(*until - now);
                false
            }
            Mode::HalfOpen { .. } => probes < self.settings.probe_limit(),
            Mode::ByHand { until, .. } => {
                retry_after = until.map(|until| until - now);
                false
            }
        };
        if permitted {
            let call = Call { generation: self.generation, admitted_at: now };
            assert!(self.under_way.insert(slot, call).is_none(), "one call per slot");
        }
        Decision { permitted, retry_after, rejected_by: (!permitted).then_some(state) }
    }

    /// Records a result. Where the resolution of a time window leaves open whether the circuit
    /// trips, `seen` is right.
    pub(crate) fn finish(&mut self, slot: usize, ending: Ending, took: Option<u64>, seen: bool) {
        let call = self.under_way.remove(&slot).expect("a call under way");
        if call.generation != self.generation {
            return;
        }
        let (failed, retry_after) = match ending {
            Ending::Success => (false, None),
            Ending::Failure(retry_after) | Ending::Throttled(retry_after) => (true, retry_after),
            Ending::Ignore => return self.waste(&call),
        };
        let took = took.unwrap_or(self.now - call.admitted_at);
        match self.mode {
            Mode::Closed { .. } => {
                self.record(ending, failed, took);
                self.open_if_tripped(retry_after, seen);
            }
            Mode::ByHand { state: State::MetricsOnly, .. } => self.record(ending, failed, took),
            Mode::HalfOpen { ref mut good, ref mut bad, ref mut wasted } => {
                *wasted = 0;
                let is_bad = failed || self.settings.is_slow(took);
                *(if is_bad { bad } else { good }) += 1;
                self.evaluate_probes(retry_after);
            }
            Mode::ByHand { .. } | Mode::Open { .. } => {}
        }
    }

    pub(crate) fn cancel(&mut self, slot: usize) {
        let call = self.under_way.remove(&slot).expect("a call under way");
        self.waste(&call);
    }

    /// A probe comes to nothing.
    fn waste(&mut self, probe: &Call) {
        let now = self.now;
        if let Mode::HalfOpen { wasted, .. } = &mut self.mode
            && probe.generation == self.generation
        {
            *wasted += now - probe.admitted_at;
            if self.settings.probe_timeout.is_some_and(|timeout| *wasted >= timeout) {
                self.open(now, None);
            }
        }
    }

    /// The permit is dropped.
    pub(crate) fn give_up(&mut self, slot: usize, seen: bool) {
        let call = &self.under_way[&slot];
        if call.generation != self.generation {
            return self.cancel(slot);
        }
        let took = self.now - call.admitted_at;
        if self.settings.abandoned_after.is_some_and(|limit| took > limit) {
            return self.finish(slot, Ending::Failure(None), None, seen);
        }
        if !self.settings.is_slow(took) {
            return self.cancel(slot);
        }
        match self.mode {
            // It is slow, and so a bad result, whatever it would have come to.
            Mode::HalfOpen { .. } => self.finish(slot, Ending::Success, None, seen),
            Mode::Closed { .. } | Mode::ByHand { state: State::MetricsOnly, .. } => {
                self.under_way.remove(&slot);
                for (window, rate) in self.windows.iter_mut().zip(self.settings.rates()) {
                    if rate.slower_than.is_some_and(|limit| took > limit) {
                        window.record(rate, self.now, false, true);
                    }
                }
                if matches!(self.mode, Mode::Closed { .. }) {
                    self.open_if_tripped(None, seen);
                }
            }
            Mode::Open { .. } | Mode::ByHand { .. } => self.cancel(slot),
        }
    }

    pub(crate) fn panic(&mut self, slot: usize, seen: bool) {
        self.finish(slot, Ending::Failure(None), None, seen);
    }

    fn open_if_tripped(&mut self, retry_after: Option<u64>, seen: bool) {
        let verdict = self.evaluate_rules();
        if verdict == Verdict::Trip || verdict == Verdict::Either && seen {
            self.open(self.now, retry_after);
        }
    }

    pub(crate) fn set_by_hand(&mut self, state: State, time: Option<u64>) {
        let until = time.map(|time| self.now + time);
        // Setting the state that is already set, with the same end, is not a transition.
        let is_set = matches!(self.mode,
            Mode::ByHand { state: old, until: end } if old == state && end == until);
        if !is_set {
            self.enter(Mode::ByHand { state, until });
        }
        self.catch_up();
    }

    pub(crate) fn trip(&mut self) {
        if self.state() != State::Open {
            self.open(self.now, None);
        }
    }

    pub(crate) fn reset(&mut self) {
        self.clear();
        self.enter(Mode::Closed { ramp_since: None, credit: 0.0 });
    }

    /// Takes other numbers for the same rules.
    pub(crate) fn update(&mut self, settings: Settings) {
        self.settings = settings;
        if let Mode::Open { updated, .. } = &mut self.mode {
            *updated = true;
        }
        for (window, rate) in self.windows.iter_mut().zip(self.settings.rates()) {
            window.shrink(rate);
        }
    }

    /// A restart during which the wall clock moves by `by`. Calls under way are gone. What is left
    /// of the open time follows the wall clock, but never exceeds what was left before.
    pub(crate) fn restart(&mut self, by: i64) {
        self.under_way.clear();
        let passed = u64::try_from(by).unwrap_or(0);
        match &mut self.mode {
            Mode::Closed { .. } if passed > self.settings.closed_ttl => self.reset(),
            Mode::Open { until, .. } => {
                // A clock that went back adds nothing to what was left.
                let left = *until - self.now;
                *until = self.now + passed + left.saturating_sub(passed);
            }
            Mode::HalfOpen { wasted, .. } => *wasted = 0,
            Mode::ByHand { until: Some(until), .. } => {
                let left = *until - self.now;
                *until = self.now + passed + left.saturating_sub(passed);
            }
            _ => {}
        }
        self.now += passed;
        self.catch_up();
    }

    fn probes(&self) -> impl Iterator<Item = &Call> {
        self.under_way.values().filter(|call| call.generation == self.generation)
    }

    /// When the oldest probe still out times out.
    fn probe_deadline(&self) -> Option<u64> {
        if !matches!(self.mode, Mode::HalfOpen { .. }) {
            return None;
        }
        let oldest = self.probes().map(|probe| probe.admitted_at).min()?;
        Some(oldest + self.settings.probe_timeout?)
    }

    /// The next moment at which time alone changes something.
    fn boundary(&self) -> Option<u64> {
        match self.mode {
            Mode::Open { until, .. } | Mode::ByHand { until: Some(until), .. } => Some(until),
            Mode::HalfOpen { .. } => self.probe_deadline(),
            Mode::Closed { ramp_since: Some(since), .. } => Some(since + self.settings.ramp?.time),
            Mode::Closed { .. } | Mode::ByHand { until: None, .. } => {
                let mut windows = self.windows.iter().zip(self.settings.rates());
                windows.find_map(|(window, rate)| window.next_drop(rate, self.now))
            }
        }
    }

    /// Makes every transition that time alone has caused, each at its own moment.
    fn catch_up(&mut self) {
        loop {
            match self.mode {
                Mode::Open { until, .. } if until <= self.now => {
                    self.enter(Mode::HalfOpen { good: 0, bad: 0, wasted: 0 });
                }
                Mode::ByHand { until: Some(until), .. } if until <= self.now => self.reset(),
                _ => match self.probe_deadline() {
                    Some(deadline) if deadline <= self.now => self.open(deadline, None),
                    _ => break,
                },
            }
        }
        if let (Mode::Closed { ramp_since, .. }, Some(ramp)) = (&mut self.mode, self.settings.ramp)
        {
            *ramp_since = ramp_since.filter(|since| self.now - since < ramp.time);
        }
    }

    fn record(&mut self, ending: Ending, failed: bool, took: u64) {
        for (window, rate) in self.windows.iter_mut().zip(self.settings.rates()) {
            // A failure rule has no limit of its own: it counts what any other rule calls slow.
            let limit = rate.slower_than;
            let is_slow = limit.map_or_else(|| self.settings.is_slow(took), |limit| took > limit);
            window.record(rate, self.now, failed, is_slow);
        }
        match ending {
            Ending::Success => self.consecutive_failures = 0,
            Ending::Failure(_) => self.consecutive_failures += 1,
            Ending::Throttled(_) | Ending::Ignore => {}
        }
    }

    fn evaluate_rules(&self) -> Verdict {
        let mut windows = self.windows.iter();
        let verdicts = self.settings.rules.iter().map(|rule| match rule {
            Rule::ConsecutiveFailures(limit) if self.consecutive_failures >= *limit => {
                Verdict::Trip
            }
            Rule::ConsecutiveFailures(_) => Verdict::Hold,
            Rule::Rate(rate) => windows.next().expect("one per rule").verdict(rate, self.now),
        });
        verdicts.max().unwrap_or(Verdict::Hold)
    }

    fn evaluate_probes(&mut self, retry_after: Option<u64>) {
        let Mode::HalfOpen { good, bad, .. } = self.mode else {
            unreachable!("only while half-open")
        };
        let needed = self.settings.success_threshold;
        let opens = match self.settings.probe_failure_rate {
            None if bad > 0 => true,
            None if good >= needed => false,
            Some(rate) if good + bad >= needed => {
                rate.is_reached_by(bad.into(), (good + bad).into())
            }
            _ => return,
        };
        if opens {
            self.open(self.now, retry_after);
        } else {
            self.clear();
            let ramp_since = self.settings.ramp.map(|_| self.now);
            self.enter(Mode::Closed { ramp_since, credit: 0.0 });
        }
    }

    fn open(&mut self, at: u64, retry_after: Option<u64>) {
        self.consecutive_opens += 1;
        let length = self.settings.open_time(self.consecutive_opens, retry_after);
        self.enter(Mode::Open { until: at + length, updated: false });
    }

    fn clear(&mut self) {
        (self.consecutive_failures, self.consecutive_opens) = (0, 0);
        self.windows.fill_with(Window::default);
    }

    fn enter(&mut self, mode: Mode) {
        self.mode = mode;
        self.generation += 1;
    }
}
