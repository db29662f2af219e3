//! What a transaction did to the machine.

use std::{sync::Arc, time::Duration};

use super::rules::Trigger;
use crate::{clock::Tick, event::Reason, manual::Remark, state::State};

/// A step from one state to the next, on the machine's own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) from: State,
    pub(super) to: State,
    pub(super) reason: Reason,
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
    /// The counts changed, and the state did not.
    Counts,
    /// The state changed.
    Transition,
}

/// What a transaction did, collected while it runs.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// In the order in which they happened.
    pub(super) steps: Vec<Step>,
    pub(super) counts_changed: bool,
    /// A rule that would have opened the circuit if it were not in `MetricsOnly`, after the steps.
    pub(super) would_trip: Option<Trigger>,
}

impl Effects {
    pub(super) fn change(&self) -> Option<Change> {
        if !self.steps.is_empty() {
            return Some(Change::Transition);
        }
        self.counts_changed.then_some(Change::Counts)
    }
}
