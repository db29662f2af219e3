//! The machine of a shared breaker: probes under leases, and what the fleet's thread does to it.
//!
//! [`Sharing`](super::sharing) says what is kept for that.

use std::{sync::Arc, time::Duration};

use super::{
    effects::Effects,
    machine::{Machine, Phase},
    open_time::longest_open_time,
    probes::Probes,
    rules::Trigger,
    sharing::{
        DEMAND_TIME, Decided, FleetObserver, FleetState, Lease, OpenCalls, Recorded, Shared,
        SharedView, WhenCounted,
    },
};
use crate::{
    clock::{Reading, Tick},
    event::Reason,
    state::State,
};

/// How often a half-open circuit without a lease takes note of its calls.
const NOTE_INTERVAL: Duration = Duration::from_millis(250);

/// For the state machine.
impl Machine {
    /// How many probes the leases allow now; `None` if they need none.
    pub(super) fn lease_slots(&self) -> Option<u64> {
        Some(self.sharing.gate(self.now)?.free(self.now))
    }

    /// Until when calls may be rejected without the lock, so that the machine sees one now and
    /// then.
    pub(super) fn probes_ask_again_at(&self) -> Option<Tick> {
        let last_call = self.sharing.gate(self.now)?.last_call;
        Some(last_call.map_or(self.now, |last_call| last_call.after(NOTE_INTERVAL)))
    }

    /// Takes note of a call that would be a probe.
    pub(super) fn note_probe_call(&mut self) {
        let now = self.now;
        let Some(shared) = self.sharing.gate_mut(now) else { return };
        shared.is_marked |=
            shared.last_call.is_none_or(|last_call| now >= last_call.after(NOTE_INTERVAL));
        shared.last_call = Some(now);
        shared.unseen_since.get_or_insert(now);
    }

    /// Whether the next call that meets the open circuit is to be noted.
    pub(super) fn watches_calls(&self) -> bool {
        let shared = self.sharing.gate(self.now);
        shared.is_some_and(|shared| shared.open_calls == OpenCalls::NoteNext)
    }

    /// Takes note of a call that meets the open circuit: it would be a probe soon.
    pub(super) fn note_open_call(&mut self) {
        let now = self.now;
        if let Some(shared) = self.sharing.gate_mut(now)
            && shared.open_calls == OpenCalls::NoteNext
        {
            shared.open_calls = OpenCalls::Unseen;
            shared.last_call = Some(now);
        }
    }

    /// Puts a probe under a free lease, if it needs one.
    pub(super) fn assign_lease(&mut self, probe: u64) {
        let now = self.now;
        let Some(shared) = self.sharing.gate_mut(now) else { return };
        if let Some(lease) = shared.leases.iter_mut().find(|lease| lease.is_free(now)) {
            lease.probe = Some(probe);
        }
    }

    /// Frees the lease of a probe that has ended. `false` if the lease had expired, so that the
    /// result changes nothing.
    pub(super) fn return_lease(&mut self, probe: Option<u64>) -> bool {
        let now = self.now;
        let (Some(shared), Some(probe)) = (self.sharing.gate_mut(now), probe) else { return true };
        let Some(lease) = shared.of_probe(probe) else { return false };
        (lease.probe, lease.idle_since) = (None, now);
        let (token, is_valid) = (lease.token, lease.until > now);
        shared.ending = Some(shared.end(token, true, false));
        is_valid
    }

    /// Names what the result of the probe was whose lease has just been returned.
    pub(super) fn judge_ending(&mut self, is_good: bool, timed_out: bool) {
        if let Some(ending) = self.sharing.0.as_mut().and_then(|shared| shared.ending.as_mut()) {
            (ending.is_good, ending.timed_out) = (is_good, timed_out);
        }
    }

    /// The probe that has ended decides nothing by itself. Without a result, there is nothing to
    /// submit either.
    pub(super) fn end_undecided(&mut self, has_result: bool) {
        let Some(shared) = &mut self.sharing.0 else { return };
        if let Some(end) = shared.ending.take()
            && has_result
        {
            shared.results.push(end);
            shared.is_marked = true;
        }
    }

    /// The oldest probe has timed out at this time. `false` if it would need a lease and has none
    /// any more, as after the server was away for a moment: it decides nothing, and is forgotten.
    pub(super) fn time_out_oldest(&mut self, at: Tick) -> bool {
        let now = self.now;
        let Phase::HalfOpen(probes) = &mut self.phase else { return false };
        let Some(oldest) = probes.oldest() else { return false };
        let Some(shared) = self.sharing.gate_mut(now) else { return true };
        let Some(lease) = shared.of_probe(oldest) else {
            probes.release(oldest);
            return false;
        };
        let (token, is_valid) = (lease.token, lease.until > at);
        if is_valid {
            shared.ending = Some(shared.end(token, false, true));
        } else {
            (lease.probe, lease.idle_since) = (None, now);
            probes.release(oldest);
        }
        is_valid
    }
}

/// For the fleet's thread.
impl Machine {
    /// Shares the breaker. If it was restored and is not closed, the fleet learns it. With
    /// `counts`, the observer is notified when calls are counted.
    pub(crate) fn share(&mut self, observer: Box<dyn FleetObserver>, counts: bool) {
        let mut shared = Shared::new(observer);
        if counts {
            shared.counts = WhenCounted::Tell;
        }
        let until = match self.phase {
            Phase::Open { until, .. }
            | Phase::ForcedOpen { until }
            | Phase::Disabled { until }
            | Phase::MetricsOnly { until } => Some(until),
            Phase::HalfOpen(_) | Phase::Closed(_) => None,
        };
        let state = self.phase.state();
        if state != State::Closed {
            shared.decisions = 1;
            let (reason, opens) = (Reason::Restored, self.consecutive_opens);
            shared.decided = Some(Decided { reason, probe: None, state, until, opens });
        }
        self.sharing.0 = Some(Box::new(shared));
    }

    /// Whether the fleet can be reached from now on. Without it, the machine decides alone.
    pub(crate) fn set_joined(&mut self, is_joined: bool) {
        let Some(shared) = &mut self.sharing.0 else { return };
        shared.is_joined = is_joined;
        if !is_joined {
            shared.leases.clear();
        }
    }

    /// Whether the state is this replica's alone, and not that of the fleet.
    pub(crate) fn is_state_own(&self) -> bool {
        self.sharing.0.as_deref().is_none_or(|shared| {
            !shared.is_joined || (!shared.is_fleets && self.state() != State::Closed)
        })
    }

    pub(crate) fn shared_view(&mut self, now: Reading, has_waiters: bool) -> Option<SharedView> {
        self.sharing.0.as_deref_mut()?.unseen_since = None;
        let shared = self.sharing.0.as_deref()?;
        let is_half_open = self.state() == State::HalfOpen;
        let is_probing = is_half_open && self.sharing.gate(self.now).is_some();
        let has_demand =
            has_waiters || shared.last_call.is_some_and(|call| now.tick.since(call) < DEMAND_TIME);
        let open_until = match &self.phase {
            Phase::Open { until, .. } => Some(*until),
            _ => None,
        };
        let limit = self.config.probe_limit() as usize;
        let has_room = shared.leases.len() < limit && shared.free(self.now) == 0;
        Some(SharedView {
            now: now.tick,
            config: Arc::clone(&self.config),
            decisions: shared.decisions,
            decided: shared.decided,
            results: shared.results.clone(),
            leases: shared.leases.clone(),
            state: self.state(),
            remark: self.origin.as_ref().and_then(|origin| origin.remark.clone()),
            open_until: open_until.filter(|_| self.sharing.gate(self.now).is_some()),
            has_demand,
            is_probing,
            wants_lease: is_probing && has_demand && has_room,
            next_open_time: self.config.open_time(self.consecutive_opens.saturating_add(1)),
        })
    }

    /// Notes the next call that meets the open circuit.
    pub(crate) fn watch_calls(&mut self) {
        let now = self.now;
        let is_open = matches!(self.phase, Phase::Open { .. });
        if let Some(shared) = self.sharing.gate_mut(now).filter(|_| is_open) {
            shared.open_calls = OpenCalls::NoteNext;
        }
    }

    /// What the rate rules have recorded. The observer is notified of the next call.
    pub(crate) fn recorded(&mut self) -> Recorded {
        // So that the next success takes the lock, even if it could be counted without.
        self.storage.set_save_due(false);
        let (generation, counts) = self.rules.recorded();
        let (state, config) = (self.state(), Arc::clone(&self.config));
        Recorded { state, config, generation, counts, windows: self.rules.window_counts() }
    }

    /// A rule is met by the calls of all replicas. It opens the circuit, unless the windows have
    /// begun anew since.
    pub(crate) fn trip_together(
        &mut self,
        generation: u64,
        reason: Reason,
        failure_count: u64,
        effects: &mut Effects,
    ) {
        if self.state() == State::Closed && self.rules.recorded().0 == generation {
            self.trip(Trigger { reason, failure_count }, None, effects);
        }
    }

    /// Adds a lease, or extends it.
    pub(crate) fn grant(&mut self, token: u64, until: Tick) {
        let now = self.now;
        if self.state() != State::HalfOpen {
            return;
        }
        let Some(shared) = self.sharing.gate_mut(now) else { return };
        match shared.leases.iter_mut().find(|lease| lease.token == token) {
            Some(lease) => lease.until = until,
            None => shared.leases.push(Lease { token, until, probe: None, idle_since: now }),
        }
    }

    /// Removes a lease that no probe uses. `false` if one does.
    pub(crate) fn take_back(&mut self, token: u64) -> bool {
        let Some(shared) = &mut self.sharing.0 else { return true };
        let before = shared.leases.len();
        shared.leases.retain(|lease| lease.token != token || lease.probe.is_some());
        shared.leases.len() < before
    }

    /// The result of this number has been submitted.
    pub(crate) fn forget_result(&mut self, serial: u64) {
        if let Some(shared) = &mut self.sharing.0 {
            shared.results.retain(|end| end.serial != serial);
        }
    }

    /// The fleet knows the decision, and this replica's state remains its own. A decision that was
    /// made meanwhile is still to be submitted.
    pub(crate) fn keep_own(&mut self, decisions: u64) {
        if let Some(shared) = &mut self.sharing.0
            && shared.decisions == decisions
        {
            shared.decided = None;
        }
    }

    /// Takes a state of the fleet over, unless this replica has decided something meanwhile.
    pub(crate) fn adopt(
        &mut self,
        decisions: u64,
        fleet: &FleetState,
        effects: &mut Effects,
    ) -> bool {
        let before = effects.steps.len();
        let is_adopted = self.try_adopt(decisions, fleet, effects);
        if !is_adopted {
            return false;
        }
        if let Some(step) = effects.steps.get_mut(before)
            && step.reason == Reason::Fleet
        {
            step.manual = fleet.by_hand;
            step.remark.clone_from(&fleet.remark);
        }
        // It may be over already, or this replica's own before.
        if let Some(origin) = &mut self.origin
            && fleet.remark.is_some()
            && self.phase.state() == fleet.state
        {
            origin.remark.clone_from(&fleet.remark);
        }
        true
    }

    fn try_adopt(&mut self, decisions: u64, fleet: &FleetState, effects: &mut Effects) -> bool {
        let now = self.now;
        let Some(shared) = &mut self.sharing.0 else { return true };
        if shared.decisions != decisions {
            return false;
        }
        // What was restored is kept, and so is what was counted since this replica has closed.
        let is_own = shared.decided.is_some_and(|decided| decided.state == State::Closed);
        let keeps_counts = shared.adoptions == 0 || is_own;
        shared.adoptions += 1;
        let was_fleets = std::mem::replace(&mut shared.is_fleets, true);
        shared.decided = None;
        shared.results.clear();
        self.consecutive_opens = fleet.opens;
        let until = fleet.until.unwrap_or(Tick::NEVER);
        let phase = match fleet.state {
            State::Closed if self.state() == State::Closed => {
                if !keeps_counts {
                    self.clear(now);
                }
                effects.counts_changed = true;
                return true;
            }
            State::Closed => {
                self.close(Reason::Fleet, effects);
                return true;
            }
            State::Open | State::HalfOpen if until <= now => {
                if self.state() == State::HalfOpen && was_fleets {
                    return true;
                }
                Phase::HalfOpen(Box::<Probes>::default())
            }
            // The server's clock may have gone back since this end was set.
            State::Open | State::HalfOpen => {
                let until = until.min(now.after(longest_open_time(&self.config)));
                Phase::Open { since: now, until }
            }
            State::ForcedOpen => Phase::ForcedOpen { until },
            State::Disabled => Phase::Disabled { until },
            State::MetricsOnly => Phase::MetricsOnly { until },
        };
        if phase.state() == self.state() {
            if phase.state() == State::HalfOpen {
                self.void_admitted_calls();
            }
            self.phase = phase;
            effects.counts_changed = true;
        } else {
            self.enter(phase, Reason::Fleet.into(), now, effects);
        }
        self.advance(now, effects);
        true
    }
}

#[cfg(test)]
mod tests;
