//! The machine without the feature `redis`: no breaker is shared, so no probe needs a lease.

use super::machine::Machine;
use crate::clock::Tick;

#[expect(clippy::unused_self, reason = "the other implementation uses it")]
impl Machine {
    pub(super) fn lease_slots(&self) -> Option<u64> {
        None
    }

    pub(super) fn probes_ask_again_at(&self) -> Option<Tick> {
        None
    }

    pub(super) fn note_probe_call(&mut self) {}

    pub(super) fn watches_calls(&self) -> bool {
        false
    }

    pub(super) fn note_open_call(&mut self) {}

    pub(super) fn assign_lease(&mut self, _: u64) {}

    pub(super) fn return_lease(&mut self, _: Option<u64>) -> bool {
        true
    }

    pub(super) fn judge_ending(&mut self, _: bool, _: bool) {}

    pub(super) fn end_undecided(&mut self, _: bool) {}

    pub(super) fn time_out_oldest(&mut self, _: Tick) -> bool {
        true
    }
}
