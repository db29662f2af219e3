//! What a transaction did to the machine.

use std::{sync::Arc, time::Duration};

use super::{open_slot::OpenSlot, rules::Trigger};
use crate::{
    clock::Tick,
    event::{PreventedBy, Reason},
    manual::Remark,
    outcome::CallEnd,
    state::State,
};

/// A step from one state to the next, on the machine's own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) from: State,
    pub(super) to: State,
    pub(super) reason: Reason,
    /// Whether it was done by hand, here or on another replica.
    pub(super) manual: bool,
    pub(super) failure_count: u64,
    pub(super) open_time: Option<Duration>,
    pub(super) manual_until: Option<Tick>,
    pub(super) at: Tick,
    /// What was said about a change by hand.
    pub(super) remark: Option<Arc<Remark>>,
}

/// How a transaction changed what a snapshot would hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The counts changed, or the state became that of the snapshot in the store, which holds it
    /// already.
    Counts,
    /// The state changed.
    Transition,
}

/// What a transaction did that only metrics count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct EndCounts {
    pub(crate) slow: bool,
    pub(crate) probe: Option<CallEnd>,
    pub(crate) unfinished_probes: u32,
    pub(crate) streams: StreamCounts,
    /// What has kept a rule from opening the circuit.
    pub(crate) prevented_by: Option<PreventedBy>,
}

/// Probes that ended before the transaction itself, because their streams had proved alive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StreamCounts {
    pub(crate) in_time: u32,
    pub(crate) slow: u32,
}

/// What a transaction did, collected while it runs.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// In the order in which they happened.
    pub(super) steps: Vec<Step>,
    /// How many of the steps led to the state of the snapshot in the store.
    pub(super) restored_steps: usize,
    pub(super) counts_changed: bool,
    /// A rule that would have opened the circuit, after the steps.
    pub(super) would_trip: Option<Prevented>,
    /// What the circuit needs to open, where its group bounds how many are open.
    pub(super) open_slot: Option<OpenSlot>,
    /// The result was that of a slow call.
    pub(super) slow: bool,
    /// How a probe ended.
    pub(super) probe: Option<CallEnd>,
    /// Probes that were still out when the circuit left the half-open state.
    pub(super) unfinished_probes: u32,
    pub(super) streams: StreamCounts,
}

/// A trip that did not happen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prevented {
    pub(super) trigger: Trigger,
    pub(super) by: PreventedBy,
}

impl Effects {
    /// Whether a rule may open the circuit at this time.
    pub(super) fn may_open(&mut self, now: Tick) -> bool {
        self.open_slot.as_mut().is_none_or(|slot| slot.try_take(now))
    }

    /// Counts what was noted for a probe whose stream has proved alive, and makes room for what the
    /// transaction notes.
    pub(super) fn set_stream_apart(&mut self) {
        let slow = std::mem::take(&mut self.slow);
        if self.probe.take().is_some() {
            let counts = &mut self.streams;
            *if slow { &mut counts.slow } else { &mut counts.in_time } += 1;
        }
    }

    pub(super) fn counts(&self) -> EndCounts {
        let Self { slow, probe, unfinished_probes, streams, would_trip, .. } = *self;
        let prevented_by = would_trip.map(|prevented| prevented.by);
        EndCounts { slow, probe, unfinished_probes, streams, prevented_by }
    }

    pub(super) fn change(&self) -> Option<Change> {
        if self.steps.len() > self.restored_steps {
            return Some(Change::Transition);
        }
        (self.counts_changed || !self.steps.is_empty()).then_some(Change::Counts)
    }
}
