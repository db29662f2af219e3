//! The model: the state machine as its description reads, one call at a time, with every result
//! kept in a list.

mod results;
mod time;

use std::collections::HashMap;

use tower_breaker::State;

use super::{
    settings::{Ramp, Settings},
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
    /// In `metrics_only`, whether a rule was met after the last call, which was reported.
    reported: Verdict,
    would_trips: u64,
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
    /// Whether its response streams; then when it proves alive, if it is a probe.
    stream: Option<u64>,
}

/// The generation of a call that has its result.
const OVER: u64 = u64::MAX;

/// What the breaker did when a call ended. The model follows it where the resolution of a time
/// window leaves open whether a rule is met.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) opened: bool,
    pub(crate) would_have: bool,
}

/// The answer to a request for admission.
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
            reported: Verdict::Hold,
            would_trips: 0,
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

    /// How often `metrics_only` has reported that the circuit would have opened.
    pub(crate) fn would_trips(&self) -> u64 {
        self.would_trips
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

    /// Requests admission. Where floating-point rounding decides, `seen` is right.
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
            let call = Call { generation: self.generation, admitted_at: now, stream: None };
            assert!(self.under_way.insert(slot, call).is_none(), "one call per slot");
        }
        Decision { permitted, retry_after, rejected_by: (!permitted).then_some(state) }
    }

    pub(crate) fn stream(&mut self, slot: usize, alive_after: u64, seen: bool) -> Decision {
        let decision = self.acquire(slot, seen);
        if let Some(call) = self.under_way.get_mut(&slot) {
            call.stream = Some(self.now + alive_after);
        }
        self.catch_up();
        decision
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
        self.reported = self.reported.min(self.evaluate_rules());
    }

    fn probes(&self) -> impl Iterator<Item = &Call> {
        self.under_way.values().filter(|call| call.generation == self.generation)
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
        self.reported = Verdict::Hold;
    }
}
