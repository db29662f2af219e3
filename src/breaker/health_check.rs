//! What health checks do to a circuit, besides making calls.

use std::time::Duration;

use super::{
    cell::Cell,
    effects::{Effects, Prevented},
    machine::{Machine, Phase},
    permit::Permit,
    rules::Trigger,
};
use crate::{
    error::Refusal,
    event::{PreventedBy, Reason},
};

impl Machine {
    pub(super) fn open_time_left(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Open { until, .. } => Some(until.since(self.now)),
            _ => None,
        }
    }

    /// The open time of a shared circuit is the fleet's.
    fn end_open_time(&mut self, effects: &mut Effects) {
        if let Phase::Open { .. } = self.phase
            && self.lease_slots().is_none()
        {
            let half_open = Phase::HalfOpen(Box::default());
            self.enter(half_open, Reason::HealthCheck.into(), self.now, effects);
        }
    }

    pub(super) fn open_by_checks(
        &mut self,
        failed: u32,
        is_first: bool,
        effects: &mut Effects,
    ) -> bool {
        let Phase::Closed(_) = self.phase else { return false };
        let trigger = Trigger { reason: Reason::HealthCheck, failure_count: failed.into() };
        let opens = effects.may_open(self.now);
        if opens {
            self.open(trigger, None, self.now, effects);
        } else if is_first {
            effects.counts_changed = true;
            effects.would_trip = Some(Prevented { trigger, by: PreventedBy::MaxOpenRatio });
        }
        opens
    }
}

/// A check is a probe, but no call: metrics do not count it as one.
impl Permit {
    /// Admits a check where a call would be admitted.
    pub(crate) fn acquire_for_check(cell: &'static Cell) -> Result<Self, Refusal> {
        Self::try_acquire(cell).map(Self::uncounted)
    }

    /// Admits a check, and ends the open time for it if need be. No other call can take the slot of
    /// the probe in between.
    pub(crate) fn acquire_early(cell: &'static Cell) -> Result<Self, Refusal> {
        let permit = |admitted| Self::admitted(cell, &admitted).uncounted();
        cell.admit_after(Machine::end_open_time, permit)
    }
}
