//! What the machine of a shared breaker keeps for the fleet: what it has decided by itself, and the
//! leases of its probes.
//!
//! The machine decides as one that is not shared, and at once. What it decided waits here until the
//! fleet's thread has submitted it. Two things differ: in a state that is the fleet's, a half-open
//! circuit admits probes only under leases, and the result of a probe whose lease has expired
//! changes nothing. While the fleet cannot be reached, or its thread is gone, neither holds.

use std::{fmt, sync::Arc, time::Duration};

use super::{effects::Step, window::Counts};
use crate::{clock::Tick, config::Config, event::Reason, manual::Remark, state::State};

/// Without a sign of the fleet's thread for that long, the machine decides alone.
pub(super) const THREAD_GONE_AFTER: Duration = Duration::from_secs(5);

/// How long a call counts as a sign that a replica would use a lease.
pub(crate) const DEMAND_TIME: Duration = Duration::from_secs(1);

/// Empty unless the breaker is shared.
#[derive(Debug)]
pub(super) struct Sharing(pub(super) Option<Box<Shared>>);

/// Wakes the fleet's thread when it has something to do.
pub(crate) trait FleetObserver: fmt::Debug + Send + Sync {
    /// Called with the breaker's lock held: note it, and no more.
    fn on_change(&self);

    /// Called instead when only counts have changed, and the fleet [counts](Shared::counts)
    /// together.
    fn on_counts(&self);
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) observer: Box<dyn FleetObserver>,
    /// Whether the fleet can be reached, so that it decides on probes.
    pub(super) is_joined: bool,
    /// How often it has taken over a state of the fleet.
    pub(super) adoptions: u64,
    /// Whether the present state is the fleet's, and not one of this replica alone.
    pub(super) is_fleets: bool,
    pub(super) leases: Vec<Lease>,
    /// The number of decisions so far.
    pub(super) decisions: u64,
    pub(super) decided: Option<Decided>,
    /// Results of probes that decide nothing by themselves.
    pub(super) results: Vec<ProbeEnd>,
    /// The result of a probe while the machine judges it.
    pub(super) ending: Option<ProbeEnd>,
    /// How many probes under leases have ended.
    pub(super) ends: u64,
    /// When a call last met the half-open circuit, or the open one and was noted.
    pub(super) last_call: Option<Tick>,
    /// Whether calls that meet the open circuit are noted.
    pub(super) open_calls: OpenCalls,
    /// When the first call met it that the fleet's thread has not seen yet.
    pub(super) unseen_since: Option<Tick>,
    /// Whether the fleet's thread wants to know when calls are counted.
    pub(super) counts: WhenCounted,
    /// The fleet's thread has something to do.
    pub(super) is_marked: bool,
}

/// What happens to calls that meet the open circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenCalls {
    /// They are rejected without the lock.
    Unseen,
    /// The next one takes the lock, to be noted. That is so only shortly before the end of the open
    /// time.
    NoteNext,
}

/// What follows when a call is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenCounted {
    Nothing,
    Tell,
    /// It is still to be told.
    IsMarked,
}

/// The permission of the fleet to make one probe at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) token: u64,
    pub(crate) until: Tick,
    /// The probe that is out under it.
    pub(crate) probe: Option<u64>,
    /// Since when it is there, or was last used.
    pub(crate) idle_since: Tick,
}

/// How a probe under a lease has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProbeEnd {
    pub(crate) lease: u64,
    /// Higher than that of each probe that has ended before.
    pub(crate) serial: u64,
    pub(crate) is_good: bool,
    pub(crate) timed_out: bool,
}

/// What the machine has decided by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decided {
    pub(crate) reason: Reason,
    /// The probe that decided, if it had a lease.
    pub(crate) probe: Option<ProbeEnd>,
    pub(crate) state: State,
    pub(crate) until: Option<Tick>,
    pub(crate) opens: u32,
}

/// A state of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FleetState {
    pub(crate) state: State,
    pub(crate) until: Option<Tick>,
    pub(crate) opens: u32,
    /// Whether it was set by hand.
    pub(crate) by_hand: bool,
    /// What was said about that.
    pub(crate) remark: Option<Arc<Remark>>,
}

/// What the rate rules of a machine have recorded.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) state: State,
    pub(crate) config: Arc<Config>,
    /// Grows when the windows begin anew.
    pub(crate) generation: u64,
    /// Of each rate rule, since its window began. What was restored is not in it.
    pub(crate) counts: Vec<Counts>,
    /// What is in the window of each rate rule now.
    pub(crate) windows: Vec<Counts>,
}

/// What the fleet's thread sees of a machine.
#[derive(Debug, Clone)]
pub(crate) struct SharedView {
    pub(crate) now: Tick,
    pub(crate) config: Arc<Config>,
    pub(crate) decisions: u64,
    pub(crate) decided: Option<Decided>,
    pub(crate) results: Vec<ProbeEnd>,
    pub(crate) leases: Vec<Lease>,
    pub(crate) state: State,
    /// What was said about it.
    pub(crate) remark: Option<Arc<Remark>>,
    /// Until when the circuit is open, if the state is the fleet's.
    pub(crate) open_until: Option<Tick>,
    /// Whether a call came within the last second, or one waits.
    pub(crate) has_demand: bool,
    /// Whether the state is half-open and the fleet's.
    pub(crate) is_probing: bool,
    /// Whether a call would be a probe if there were a lease.
    pub(crate) wants_lease: bool,
    /// The open time if the circuit opened once more.
    pub(crate) next_open_time: Duration,
}

impl Lease {
    pub(super) const fn is_free(&self, now: Tick) -> bool {
        self.probe.is_none() && self.until.as_nanos() > now.as_nanos()
    }
}

impl Sharing {
    /// Of a breaker that is not shared.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    /// Takes note of a transition, with the step of the backoff after it.
    pub(super) fn on_step(&mut self, step: &Step, opens: u32, until: Option<Tick>) {
        let Some(shared) = &mut self.0 else { return };
        let probe = shared.ending.take();
        shared.leases.clear();
        shared.open_calls = OpenCalls::Unseen;
        match step.reason {
            Reason::Fleet => {
                shared.is_fleets = true;
                shared.decided = None;
                shared.results.clear();
            }
            // Every replica makes these at the same moment.
            Reason::RecoveryTimeout => {}
            Reason::ManualExpired => shared.last_call = None,
            reason => {
                shared.is_fleets = false;
                shared.decisions += 1;
                shared.decided = Some(Decided { reason, probe, state: step.to, until, opens });
                if probe.is_none() {
                    shared.results.clear();
                }
                shared.is_marked = true;
            }
        }
    }

    /// A call was counted, for the first time since the counts were last looked at.
    pub(super) fn on_counts(&mut self) {
        if let Some(shared) = &mut self.0
            && shared.counts == WhenCounted::Tell
        {
            shared.counts = WhenCounted::IsMarked;
        }
    }

    /// Tells the fleet's thread if it has something new to do.
    pub(super) fn notify(&mut self) {
        let Some(shared) = &mut self.0 else { return };
        if std::mem::take(&mut shared.is_marked) {
            shared.observer.on_change();
        }
        if shared.counts == WhenCounted::IsMarked {
            shared.counts = WhenCounted::Tell;
            shared.observer.on_counts();
        }
    }

    /// The leases, if probes need them now.
    pub(super) fn gate(&self, now: Tick) -> Option<&Shared> {
        self.0.as_deref().filter(|shared| shared.needs_leases(now))
    }

    pub(super) fn gate_mut(&mut self, now: Tick) -> Option<&mut Shared> {
        self.0.as_deref_mut().filter(|shared| shared.needs_leases(now))
    }
}

impl Shared {
    pub(super) fn new(observer: Box<dyn FleetObserver>) -> Self {
        Self {
            observer,
            is_joined: false,
            adoptions: 0,
            is_fleets: false,
            leases: Vec::new(),
            decisions: 0,
            decided: None,
            results: Vec::new(),
            ending: None,
            ends: 0,
            last_call: None,
            open_calls: OpenCalls::Unseen,
            unseen_since: None,
            counts: WhenCounted::Nothing,
            is_marked: false,
        }
    }

    /// Whether the fleet decides on probes. A thread of the fleet that has not looked for that long
    /// is gone, as in a process that was forked: no lease would ever come.
    fn needs_leases(&self, now: Tick) -> bool {
        let is_gone = self.unseen_since.is_some_and(|since| now >= since.after(THREAD_GONE_AFTER));
        // A restored state becomes the fleet's in a moment, or this replica's own.
        let is_restored = || self.decided.is_some_and(|it| it.reason == Reason::Restored);
        self.is_joined && !is_gone && (self.is_fleets || is_restored())
    }

    pub(super) fn free(&self, now: Tick) -> u64 {
        self.leases.iter().filter(|lease| lease.is_free(now)).count() as u64
    }

    /// How the next probe ends.
    pub(super) fn end(&mut self, lease: u64, is_good: bool, timed_out: bool) -> ProbeEnd {
        self.ends += 1;
        ProbeEnd { lease, serial: self.ends, is_good, timed_out }
    }

    pub(super) fn of_probe(&mut self, probe: u64) -> Option<&mut Lease> {
        self.leases.iter_mut().find(|lease| lease.probe == Some(probe))
    }
}
