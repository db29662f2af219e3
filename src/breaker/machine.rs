//! The state machine of one breaker: sequential, and free of clocks, locks and threads.
//!
//! The caller passes the time in. [`Cell`](super::cell::Cell) puts a machine behind a lock, and
//! spares callers the lock where [`FastPathView`](super::fast_path_view::FastPathView) allows it.

mod time;

use std::{sync::Arc, time::Duration};

use super::{
    admission::{Capacity, Ticket},
    effects::{Effects, Step},
    open_time::open_time,
    probes::Probes,
    ramp::Ramp,
    rules::{NextRules, Rules, Trigger},
    sharing::Sharing,
    standing::Standing,
};
use crate::{
    clock::Tick, config::Config, error::Refusal, event::Reason, manual::Remark, state::State,
    stats::Stats,
};

#[derive(Debug)]
pub(crate) struct Machine {
    pub(super) config: Arc<Config>,
    pub(super) phase: Phase,
    /// How the present state began. `None` where the breaker began with it.
    pub(super) origin: Option<Box<Origin>>,
    /// Grows with each transition and each update of the configuration.
    epoch: u64,
    /// The epoch that the last transition began. Results of calls that were admitted before it
    /// change nothing.
    valid_from: u64,
    pub(super) standing: Standing,
    /// A rule was met at the last call, and the circuit did not open.
    pub(super) would_trip: bool,
    pub(super) storage: Storage,
    pub(super) rules: Rules,
    /// How many successes of the counter for all threads are recorded already. Stored here because
    /// the cell's cache lines are full.
    pub(super) drained: u8,
    /// Openings in a row without closing.
    pub(super) consecutive_opens: u32,
    pub(super) sharing: Sharing,
    /// The latest time seen. Threads read the clock before they acquire the lock, so times can
    /// arrive out of order; the machine's own time never goes back.
    pub(super) now: Tick,
}

/// What the holder of the lock knows of saves and restores. Stored in the machine because the
/// cell's cache lines are full.
#[derive(Debug, Default)]
pub(super) struct Storage(u8);

impl Storage {
    const SAVE_DUE: u8 = 1;
    const AWAITS_RESTORE: u8 = 2;

    pub(super) fn new(awaits_restore: bool) -> Self {
        Self(u8::from(awaits_restore) * Self::AWAITS_RESTORE)
    }

    /// Whether the observer was notified of a change since the last snapshot to be saved. Only
    /// then are successes deferred: what is pending is part of the save that is due.
    pub(super) fn is_save_due(&self) -> bool {
        self.0 & Self::SAVE_DUE != 0
    }

    pub(super) fn set_save_due(&mut self, is_due: bool) {
        self.0 &= !Self::SAVE_DUE;
        self.0 |= u8::from(is_due) * Self::SAVE_DUE;
    }

    /// Whether a snapshot may still be restored. Until then, the first success is recorded even if
    /// it changes no count: it makes the counts newer than the snapshot's.
    pub(super) fn awaits_restore(&self) -> bool {
        self.0 & Self::AWAITS_RESTORE != 0
    }
}

/// How the present state began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) since: Tick,
    /// `None` in a snapshot of an early version.
    pub(super) reason: Option<Reason>,
    /// What was said about a change by hand.
    pub(super) remark: Option<Arc<Remark>>,
}

/// A state with the data that belongs to it alone.
#[derive(Debug)]
pub(super) enum Phase {
    Closed(Option<Ramp>),
    Open {
        since: Tick,
        until: Tick,
    },
    /// Boxed: few breakers are half-open, and not for long.
    HalfOpen(Box<Probes>),
    // Each of the states set by hand ends at this time; never, if that is `Tick::NEVER`.
    ForcedOpen {
        until: Tick,
    },
    Disabled {
        until: Tick,
    },
    MetricsOnly {
        until: Tick,
    },
}

impl Phase {
    pub(super) fn state(&self) -> State {
        match self {
            Self::Closed(_) => State::Closed,
            Self::Open { .. } => State::Open,
            Self::HalfOpen(_) => State::HalfOpen,
            Self::ForcedOpen { .. } => State::ForcedOpen,
            Self::Disabled { .. } => State::Disabled,
            Self::MetricsOnly { .. } => State::MetricsOnly,
        }
    }

    /// When the state ends by itself, if nothing else ends it.
    pub(super) fn until(&self) -> Option<Tick> {
        match self {
            Self::Open { until, .. } => Some(*until),
            _ => self.manual_until(),
        }
    }

    /// When a state that was set by hand for a time ends.
    pub(super) fn manual_until(&self) -> Option<Tick> {
        match self {
            Self::ForcedOpen { until } | Self::Disabled { until } | Self::MetricsOnly { until } => {
                Some(*until).filter(|until| *until != Tick::NEVER)
            }
            Self::Closed(_) | Self::Open { .. } | Self::HalfOpen(_) => None,
        }
    }
}

impl Machine {
    pub(super) fn new(config: Arc<Config>, epoch: u64, now: Tick) -> Self {
        Self {
            rules: Rules::new(&config, now),
            config,
            phase: Phase::Closed(None),
            origin: None,
            storage: Storage::default(),
            epoch,
            valid_from: epoch,
            standing: Standing::New,
            would_trip: false,
            drained: 0,
            consecutive_opens: 0,
            sharing: Sharing::none(),
            now,
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether there has been no transition since the call was admitted.
    pub(super) fn is_current(&self, ticket: Ticket) -> bool {
        (self.valid_from..=self.epoch).contains(&ticket.epoch)
    }

    pub(crate) fn has_transitioned(&self) -> bool {
        self.standing == Standing::Own
    }

    /// Whether a snapshot would replace everything: no call was recorded and nothing changed yet.
    pub(super) fn is_new(&self) -> bool {
        self.standing == Standing::New && !self.rules.have_recorded()
    }

    /// Makes the state newer than any snapshot, as a transition does.
    pub(super) fn outdate_snapshots(&mut self) {
        self.standing = Standing::Own;
    }

    /// Begins an epoch in which the results of earlier calls change nothing.
    pub(super) fn void_admitted_calls(&mut self) {
        self.epoch += 1;
        self.valid_from = self.epoch;
    }

    pub(crate) fn state(&self) -> State {
        self.phase.state()
    }

    /// Whether a probe is due and none is out.
    #[allow(dead_code, reason = "used where breakers have keys")]
    pub(crate) fn is_half_open_without_probes(&self) -> bool {
        matches!(&self.phase, Phase::HalfOpen(probes) if probes.in_flight() == 0)
    }

    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    pub(crate) fn stats(&self) -> Stats {
        let window = self.rules.first_window_counts().unwrap_or_default();
        Stats {
            window_calls: window.calls,
            window_failures: window.failures,
            window_slow_calls: window.slow_calls,
            consecutive_failures: self.rules.consecutive_failures(),
            consecutive_opens: self.consecutive_opens,
            failures: self.rules.failures(),
            slow_calls: self.rules.slow_calls(),
        }
    }

    /// How many more calls may be admitted now. (A ramp-up admits a share of them.)
    pub(super) fn capacity(&self) -> Capacity {
        match &self.phase {
            Phase::Closed(_) | Phase::Disabled { .. } | Phase::MetricsOnly { .. } => {
                Capacity::Unlimited
            }
            Phase::HalfOpen(probes) => Capacity::Probes(self.free_slots(probes)),
            Phase::Open { until, .. } => Capacity::Rejecting { until: Some(*until) },
            phase @ Phase::ForcedOpen { .. } => Capacity::Rejecting { until: phase.manual_until() },
        }
    }

    /// Whether a call would be refused now. It is a balancer that asks, and that sends none then,
    /// so the question counts for what the call would count for: the share of a ramp-up, and the
    /// lease of a probe. Otherwise neither would ever come.
    #[allow(dead_code, reason = "used where balancers ask")]
    pub(super) fn refuses_balancer(&mut self) -> bool {
        if let Phase::Closed(Some(ramp)) = &mut self.phase {
            let config = self.config.ramp_up.as_ref();
            return config.is_some_and(|config| ramp.refuses_balancer(config, self.now));
        }
        let refuses = matches!(self.capacity(), Capacity::Probes(0));
        if refuses {
            self.note_probe_call();
        }
        refuses
    }

    /// How many more probes may be admitted now.
    pub(super) fn free_slots(&self, probes: &Probes) -> u64 {
        let slots = probes.free_slots(self.config.probe_limit());
        // Probes that were admitted without the fleet hold no lease, and count, too.
        self.lease_slots().map_or(slots, |leases| leases.min(slots))
    }

    pub(super) fn admit(&mut self) -> Result<Ticket, Refusal> {
        if let Phase::HalfOpen(_) = &self.phase {
            return self.admit_probe();
        }
        self.note_open_call();
        let refused = Err(Refusal::new(self.state()));
        match &mut self.phase {
            Phase::Closed(None) | Phase::Disabled { .. } | Phase::MetricsOnly { .. } => {}
            Phase::Closed(Some(ramp)) => {
                let config = self.config.ramp_up.as_ref();
                if config.is_some_and(|config| !ramp.admit(config, self.now)) {
                    return refused;
                }
            }
            Phase::Open { until, .. } => {
                return Err(Refusal::with_time(State::Open, until.nanos_since(self.now)));
            }
            Phase::ForcedOpen { until } if *until != Tick::NEVER => {
                return Err(Refusal::with_time(State::ForcedOpen, until.nanos_since(self.now)));
            }
            Phase::HalfOpen(_) | Phase::ForcedOpen { .. } => return refused,
        }
        Ok(Ticket { epoch: self.epoch, probe: None })
    }

    fn admit_probe(&mut self) -> Result<Ticket, Refusal> {
        self.note_probe_call();
        let free = match &self.phase {
            Phase::HalfOpen(probes) => self.free_slots(probes),
            _ => 0,
        };
        let state = self.state();
        let (Phase::HalfOpen(probes), 1..) = (&mut self.phase, free) else {
            return Err(Refusal::new(state));
        };
        let probe = probes.admit(self.now);
        self.assign_lease(probe);
        Ok(Ticket { epoch: self.epoch, probe: Some(probe) })
    }

    /// Whether the time of each call's admission is needed.
    pub(super) fn are_calls_timed(&self) -> bool {
        self.rules.slow_after().is_some()
            || self.config.abandoned_after.is_some()
            || self.config.measures_durations()
    }

    /// Replaces the configuration. The state and its counts stay, the calls of a window stay
    /// where the rule's kind of window does, and a running open time keeps its length.
    ///
    /// The `rules` get what they replace. That is to be dropped without the lock.
    pub(super) fn update(
        &mut self,
        config: Arc<Config>,
        rules: &mut NextRules,
        effects: &mut Effects,
    ) {
        rules.replace(&mut self.rules, self.now);
        self.settle_would_trip();
        self.config = config;
        self.epoch += 1;
        effects.counts_changed = true;
    }

    pub(super) fn open(
        &mut self,
        trigger: Trigger,
        retry_after: Option<Duration>,
        at: Tick,
        effects: &mut Effects,
    ) {
        self.consecutive_opens = self.consecutive_opens.saturating_add(1);
        let time = open_time(&self.config, self.consecutive_opens, retry_after);
        let until = at.after(time);
        self.enter(Phase::Open { since: at, until }, trigger, at, effects);
    }

    /// Closes the circuit without a ramp-up.
    pub(super) fn close_at_once(&mut self, reason: Reason, at: Tick, effects: &mut Effects) {
        self.clear(at);
        self.enter(Phase::Closed(None), reason.into(), at, effects);
    }

    pub(super) fn close(&mut self, reason: Reason, effects: &mut Effects) {
        self.clear(self.now);
        let ramp = self.config.ramp_up.map(|_| Ramp::new(self.now));
        self.enter(Phase::Closed(ramp), reason.into(), self.now, effects);
    }

    pub(super) fn clear(&mut self, at: Tick) {
        self.consecutive_opens = 0;
        self.rules.clear(at);
    }

    pub(super) fn enter(
        &mut self,
        phase: Phase,
        trigger: Trigger,
        at: Tick,
        effects: &mut Effects,
    ) {
        if let Phase::HalfOpen(probes) = &self.phase {
            effects.unfinished_probes += probes.in_flight();
        }
        let open_time = match &phase {
            Phase::Open { since, until } => Some(until.since(*since)),
            _ => None,
        };
        let step = Step {
            from: self.state(),
            to: phase.state(),
            reason: trigger.reason,
            manual: trigger.reason.is_manual(),
            failure_count: trigger.failure_count,
            open_time,
            manual_until: phase.manual_until(),
            at,
            remark: None,
        };
        self.sharing.on_step(&step, self.consecutive_opens, phase.until());
        effects.steps.push(step);
        self.phase = phase;
        self.would_trip = false;
        self.origin =
            Some(Box::new(Origin { since: at, reason: Some(trigger.reason), remark: None }));
        self.void_admitted_calls();
        self.standing = self.standing.after(trigger.reason);
    }
}
