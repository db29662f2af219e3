//! Admitted calls, and how many more may be admitted.

use crate::clock::Tick;

/// Identifies an admitted call to the machine that admitted it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    pub(super) epoch: u64,
    /// The id of a probe; `None` for other calls.
    pub(super) probe: Option<u64>,
}

/// How many more calls may be admitted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capacity {
    /// Any number.
    Unlimited,
    /// This many probes.
    Probes(u64),
    /// None before this time, or, without a time, before a command changes the state.
    Rejecting { until: Option<Tick> },
}
