//! The state machine of one breaker: plain, sequential, and told the time.
//!
//! Nothing here knows of threads. [`Cell`](super::cell::Cell) puts it behind a lock, and spares
//! callers the lock where [`Machine::fast_path_view`] says that they do not need it.

use std::{sync::Arc, time::Duration};

use super::{
    open_time::open_time,
    probes::{ProbeVerdict, Probes},
    ramp::Ramp,
    rules::Rules,
    window::Counts,
};
use crate::{
    clock::Tick, config::Config, error::Refusal, event::Reason, outcome::Outcome, state::State,
    stats::Stats,
};

/// The state machine.
#[derive(Debug)]
pub(crate) struct Machine {
    config: Arc<Config>,
    pub(super) phase: Phase,
    /// Grows with each transition. A result is of the generation that admitted its call.
    generation: u64,
    /// Whether there was a transition.
    stepped: bool,
    pub(super) rules: Rules,
    /// Openings in a row without closing.
    pub(super) opens: u32,
    /// The latest time seen. Threads read the clock before they have the lock, so times can
    /// arrive out of order; for the machine they never go back.
    pub(super) now: Tick,
}

/// A state with what belongs to it alone.
#[derive(Debug)]
pub(super) enum Phase {
    Closed(Option<Ramp>),
    Open {
        since: Tick,
        until: Tick,
    },
    /// Boxed, as few breakers are half-open, and never for long.
    HalfOpen(Box<Probes>),
    ForcedOpen,
    Disabled,
    MetricsOnly,
}

impl Phase {
    pub(super) fn state(&self) -> State {
        match self {
            Self::Closed(_) => State::Closed,
            Self::Open { .. } => State::Open,
            Self::HalfOpen(_) => State::HalfOpen,
            Self::ForcedOpen => State::ForcedOpen,
            Self::Disabled => State::Disabled,
            Self::MetricsOnly => State::MetricsOnly,
        }
    }
}

/// An admitted call, to be handed back with its result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    pub(crate) generation: u64,
    /// The number of a probe; `None` for other calls.
    pub(crate) probe: Option<u64>,
}

/// For how many calls there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capacity {
    All,
    /// For so many probes more.
    Probes(u64),
    /// For none, until then, where a time is set.
    None(Option<Tick>),
}

/// How a call ended, with what it took where somebody measured it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    pub(crate) outcome: Outcome,
    pub(crate) elapsed: Option<Duration>,
}

/// What came of [`Machine::try_record_untimed`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum UntimedRecord {
    /// The time matters: nothing was recorded.
    NeedsTime,
    /// Recorded, and the circuit stays as it is. Whether a quick success now changes nothing.
    Recorded { quiet: bool },
    /// Recorded, and the circuit is to open, for this reason and at so many failures.
    Tripped((Reason, u64)),
}

/// A step from one state to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) from: State,
    pub(crate) to: State,
    pub(crate) reason: Reason,
    pub(crate) failure_count: u64,
    pub(crate) open_time: Option<Duration>,
    pub(crate) at: Tick,
}

/// What somebody asked for by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    ForceOpen,
    Disable,
    MetricsOnly,
    Reset,
}

/// What a caller needs to know to do without the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FastPathView {
    pub(crate) generation: u64,
    pub(crate) state: State,
    pub(crate) admission: Admission,
    /// Whether a quick success changes nothing, or only the totals of time windows.
    pub(crate) quiet: bool,
    /// A call that took longer than this is slow.
    pub(crate) slow_after: Option<Duration>,
    /// Until when successes belong into the newest buckets; `None` without a time window.
    pub(crate) bucket_end: Option<Tick>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Every call is admitted.
    All,
    /// No call is admitted before this moment.
    NoneUntil(Tick),
    /// The machine decides call by call.
    Ask,
}

impl Machine {
    pub(crate) fn new(config: Arc<Config>, generation: u64, now: Tick) -> Self {
        Self {
            rules: Rules::new(&config, now),
            config,
            phase: Phase::Closed(None),
            generation,
            stepped: false,
            opens: 0,
            now,
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether no transition has happened yet.
    pub(crate) fn is_untouched(&self) -> bool {
        !self.stepped
    }

    pub(crate) fn state(&self) -> State {
        self.phase.state()
    }

    pub(crate) fn fast_path_view(&self) -> FastPathView {
        let admission = match &self.phase {
            Phase::Closed(None) | Phase::Disabled | Phase::MetricsOnly => Admission::All,
            Phase::Open { until, .. } => Admission::NoneUntil(*until),
            Phase::ForcedOpen => Admission::NoneUntil(Tick::NEVER),
            Phase::HalfOpen(probes) if probes.free_slots(self.config.probe_limit()) == 0 => {
                let deadline = probes.deadline(self.config.half_open_timeout);
                Admission::NoneUntil(deadline.unwrap_or(Tick::NEVER))
            }
            Phase::Closed(Some(_)) | Phase::HalfOpen(_) => Admission::Ask,
        };
        // Only these two record into the windows.
        let records = matches!(self.phase, Phase::Closed(_) | Phase::MetricsOnly);
        FastPathView {
            generation: self.generation,
            state: self.state(),
            admission,
            quiet: match self.phase {
                Phase::Closed(_) | Phase::MetricsOnly => self.rules.is_quiet(),
                Phase::Disabled => true,
                _ => false,
            },
            slow_after: self.rules.slow_after().filter(|_| records),
            bucket_end: self.rules.bucket_end().filter(|_| records),
        }
    }

    /// Does what time alone does, each at its moment, however late somebody looks.
    pub(crate) fn advance(&mut self, now: Tick, steps: &mut Vec<Step>) {
        self.now = self.now.max(now);
        loop {
            match &self.phase {
                Phase::Open { until, .. } if self.now >= *until => {
                    let at = *until;
                    self.enter(
                        Phase::HalfOpen(Box::default()),
                        Reason::RecoveryTimeout,
                        0,
                        at,
                        steps,
                    );
                }
                Phase::HalfOpen(probes) => match probes.deadline(self.config.half_open_timeout) {
                    Some(deadline) if self.now >= deadline => {
                        self.open(Reason::ProbeTimeout, 0, None, deadline, steps);
                    }
                    _ => break,
                },
                Phase::Closed(Some(ramp)) => {
                    let over = self
                        .config
                        .ramp_up
                        .is_none_or(|config| self.now >= ramp.began.after(config.time));
                    if over {
                        self.phase = Phase::Closed(None);
                    }
                    break;
                }
                _ => break,
            }
        }
        self.rules.advance(self.now);
    }

    /// For how many calls there is room now. (While ramping up it is a share of them.)
    pub(super) fn capacity(&self) -> Capacity {
        match &self.phase {
            Phase::Closed(_) | Phase::Disabled | Phase::MetricsOnly => Capacity::All,
            Phase::HalfOpen(probes) => {
                Capacity::Probes(probes.free_slots(self.config.probe_limit()))
            }
            Phase::Open { until, .. } => Capacity::None(Some(*until)),
            Phase::ForcedOpen => Capacity::None(None),
        }
    }

    /// Admits a call, or says why not.
    pub(crate) fn admit(&mut self) -> Result<Ticket, Refusal> {
        let state = self.state();
        let refused = Err(Refusal::new(state));
        let mut probe = None;
        match &mut self.phase {
            Phase::Closed(None) | Phase::Disabled | Phase::MetricsOnly => {}
            Phase::Closed(Some(ramp)) => {
                let config = self.config.ramp_up.as_ref();
                if config.is_some_and(|config| !ramp.admit(config, self.now)) {
                    return refused;
                }
            }
            Phase::Open { until, .. } => {
                return Err(Refusal::with_time(state, until.nanos_since(self.now)));
            }
            Phase::HalfOpen(probes) => {
                probe = probes.admit(self.config.probe_limit(), self.now);
                if probe.is_none() {
                    return refused;
                }
            }
            Phase::ForcedOpen => return refused,
        }
        Ok(Ticket { generation: self.generation, probe })
    }

    /// Records how a call ended where that takes no time: neither a clock nor, mostly, much else.
    pub(crate) fn try_record_untimed(&mut self, ticket: Ticket, outcome: Outcome) -> UntimedRecord {
        let closed = match &self.phase {
            Phase::Closed(None) => true,
            Phase::MetricsOnly => false,
            _ => return UntimedRecord::NeedsTime,
        };
        if ticket.generation != self.generation || !self.rules.are_timeless() {
            return UntimedRecord::NeedsTime;
        }
        match self.rules.record(outcome, None, self.now) {
            Some(trip) if closed => UntimedRecord::Tripped(trip),
            _ => UntimedRecord::Recorded { quiet: self.rules.is_quiet() },
        }
    }

    /// Opens the circuit after a call that was recorded in passing.
    pub(crate) fn trip(&mut self, trip: (Reason, u64), outcome: Outcome, steps: &mut Vec<Step>) {
        let (reason, failures) = trip;
        self.open(reason, failures, outcome.retry_after(), self.now, steps);
    }

    /// Records how a call ended. Returns whether the counts may have changed.
    pub(crate) fn record(&mut self, ticket: Ticket, ending: Ending, steps: &mut Vec<Step>) -> bool {
        if ticket.generation != self.generation {
            return false;
        }
        let Ending { outcome, elapsed } = ending;
        match &mut self.phase {
            Phase::Closed(_) | Phase::MetricsOnly => {
                let trip = self.rules.record(outcome, elapsed, self.now);
                if let (Phase::Closed(_), Some(trip)) = (&self.phase, trip) {
                    self.trip(trip, outcome, steps);
                }
                true
            }
            Phase::HalfOpen(_) => self.record_probe(ticket, ending, steps),
            Phase::Open { .. } | Phase::ForcedOpen | Phase::Disabled => false,
        }
    }

    fn record_probe(&mut self, ticket: Ticket, ending: Ending, steps: &mut Vec<Step>) -> bool {
        let Phase::HalfOpen(probes) = &mut self.phase else {
            return false;
        };
        let Some(admitted) = ticket.probe.and_then(|number| probes.release(number)) else {
            return false;
        };
        let failed = match ending.outcome {
            Outcome::Ignore => return true,
            Outcome::Success => false,
            Outcome::Failure { .. } | Outcome::Throttled { .. } => true,
        };
        let elapsed = ending.elapsed.unwrap_or_else(|| self.now.since(admitted));
        let slow = self.rules.is_slow(Some(elapsed));
        match probes.record(&self.config, failed, slow) {
            ProbeVerdict::Undecided => {}
            ProbeVerdict::Close => self.close(Reason::ProbesSucceeded, steps),
            ProbeVerdict::Reopen(reason) => {
                let failures = probes.failures.into();
                self.open(reason, failures, ending.outcome.retry_after(), self.now, steps);
            }
        }
        true
    }

    /// How long ago a probe was admitted that is still out.
    #[cfg(feature = "http")]
    pub(crate) fn age(&self, ticket: Ticket) -> Option<Duration> {
        match (&self.phase, ticket.probe) {
            (Phase::HalfOpen(probes), Some(number)) if ticket.generation == self.generation => {
                Some(self.now.since(probes.admitted_at(number)?))
            }
            _ => None,
        }
    }

    /// Gives back what a call held that came to no result.
    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        if let (Phase::HalfOpen(probes), Some(number)) = (&mut self.phase, ticket.probe)
            && ticket.generation == self.generation
        {
            probes.release(number);
        }
    }

    /// Successes of this generation that were counted apart.
    pub(crate) fn add_successes(&mut self, calls: u64) {
        self.rules.add_successes(calls, self.now);
    }

    /// The same for successes that came beside what ended the quiet: the rules have not been
    /// asked with them, and now they may have the number of calls that they wait for.
    pub(crate) fn add_unasked(&mut self, calls: u64, generation: u64, steps: &mut Vec<Step>) {
        if calls == 0 || generation != self.generation {
            return;
        }
        self.add_successes(calls);
        if let (Phase::Closed(_), Some((reason, failures))) = (&self.phase, self.rules.ask()) {
            self.open(reason, failures, None, self.now, steps);
        }
    }

    pub(crate) fn command(&mut self, command: Command, steps: &mut Vec<Step>) {
        let (phase, now) = match command {
            Command::Reset => {
                self.clear();
                return self.enter(Phase::Closed(None), Reason::Reset, 0, self.now, steps);
            }
            Command::ForceOpen => (Phase::ForcedOpen, self.now),
            Command::Disable => (Phase::Disabled, self.now),
            Command::MetricsOnly => (Phase::MetricsOnly, self.now),
        };
        if phase.state() != self.state() {
            self.enter(phase, Reason::Manual, 0, now, steps);
        }
    }

    /// Goes on under another configuration, with the state, the counts and, where a rule's kind
    /// of window stays, its calls. An open time that runs stays as it is.
    pub(crate) fn update(&mut self, config: Arc<Config>) {
        let windows = self.rules.windows(self.now);
        let row = self.rules.row();
        self.rules = Rules::new(&config, self.now);
        self.rules.adopt(&windows, self.now, Duration::ZERO);
        self.rules.set_consecutive_failures(row);
        self.config = config;
    }

    pub(crate) fn stats(&self) -> Stats {
        let row = self.rules.row();
        let Counts { calls, failures, slow_calls } = self.rules.counts().unwrap_or_default();
        Stats {
            window_calls: calls,
            window_failures: failures,
            window_slow_calls: slow_calls,
            consecutive_failures: row,
            consecutive_opens: self.opens,
        }
    }

    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    fn open(
        &mut self,
        reason: Reason,
        failures: u64,
        retry_after: Option<Duration>,
        at: Tick,
        steps: &mut Vec<Step>,
    ) {
        self.opens = self.opens.saturating_add(1);
        let time = open_time(&self.config, self.opens, retry_after);
        let until = at.after(time);
        self.enter(Phase::Open { since: at, until }, reason, failures, at, steps);
    }

    fn close(&mut self, reason: Reason, steps: &mut Vec<Step>) {
        self.clear();
        let ramp = self.config.ramp_up.map(|_| Ramp::new(self.now));
        self.enter(Phase::Closed(ramp), reason, 0, self.now, steps);
    }

    fn clear(&mut self) {
        self.opens = 0;
        self.rules.clear(self.now);
    }

    pub(super) fn enter(
        &mut self,
        phase: Phase,
        reason: Reason,
        failure_count: u64,
        at: Tick,
        steps: &mut Vec<Step>,
    ) {
        let open_time = match &phase {
            Phase::Open { since, until } => Some(until.since(*since)),
            _ => None,
        };
        steps.push(Step {
            from: self.state(),
            to: phase.state(),
            reason,
            failure_count,
            open_time,
            at,
        });
        self.phase = phase;
        self.generation += 1;
        self.stepped = true;
    }
}
