//! Calls that take the lock: their admissions, and their ends.

use std::time::Duration;

use super::Cell;
use crate::{
    breaker::{
        admission::Ticket,
        core::Publish,
        effects::Effects,
        fast_path_view::FastPathView,
        machine::Machine,
        packed_state::PackedState,
        probes::{Stream, StreamProof},
        success_state::SuccessState,
    },
    clock::Tick,
    error::Refusal,
    outcome::Outcome,
};

/// A call that the machine has admitted.
pub(in crate::breaker) struct Admitted {
    pub(in crate::breaker) ticket: Ticket,
    /// The state right after the admission.
    pub(in crate::breaker) state: PackedState,
    pub(in crate::breaker) at: Tick,
}

impl Cell {
    /// Admits a call if the machine does. The permit exists before anything is notified, so that a
    /// probe's slot is freed whatever that does.
    #[cold]
    pub(in crate::breaker) fn admit<P>(
        &'static self,
        permit: impl FnOnce(Admitted) -> P,
    ) -> Result<P, Refusal> {
        self.admit_after(|_, _| (), permit)
    }

    /// [Admits](Self::admit) a call after a change that no other call comes between.
    #[cold]
    pub(in crate::breaker) fn admit_after<P>(
        &'static self,
        change: impl FnOnce(&mut Machine, &mut Effects),
        permit: impl FnOnce(Admitted) -> P,
    ) -> Result<P, Refusal> {
        let admitted = self.with_core(|core| {
            let custom_clock = core.has_custom_clock();
            let metered = self.meter.is_on();
            let admitted = core.transact(self.successes(), |machine, effects| {
                change(machine, effects);
                let ticket = machine.admit()?;
                let view = FastPathView { metered, ..machine.fast_path_view() };
                let state = PackedState::new(&view, custom_clock);
                Ok(Admitted { ticket, state, at: machine.now })
            })?;
            Some(admitted.map(permit))
        });
        admitted.unwrap_or_else(|| Err(self.state().refusal()))
    }

    /// Records the result of a call. Without `elapsed`, it took the time since `admitted`.
    #[cold]
    #[inline(never)]
    pub(in crate::breaker) fn record(
        &'static self,
        ticket: Ticket,
        admitted: Option<Tick>,
        outcome: Outcome,
        elapsed: Option<Duration>,
    ) {
        let mut core = self.lock();
        match core.record(self.successes(), ticket, admitted, outcome, elapsed) {
            Publish::Nothing => {}
            Publish::Success(success) => self.publish_success(&core, success),
            Publish::All => self.complete(core),
        }
    }

    /// Records a failure while successes are counted on one counter, as they were when this was
    /// published, if it changes nothing about that.
    #[inline]
    pub(in crate::breaker) fn try_record_held_failure(&self, success: SuccessState) -> bool {
        let mut core = self.lock();
        // It may have been published anew.
        self.success_alone() == success
            && core.try_record_held_failure(&self.locked.successes, success.epoch())
    }

    /// Allocates more counters of successes: threads have met on one of this many.
    #[cold]
    #[inline(never)]
    pub(in crate::breaker) fn allocate_counters(&'static self, met: u8) {
        self.with_core(|core| {
            core.machine.as_ref()?;
            core.drain(self.successes(), false);
            self.successes().allocate(met);
            Some(())
        });
    }

    /// The response of a probe has begun to stream. If it goes on for this long, the probe is a
    /// success at that time, and the proof is given. The call took the time `elapsed`, or until
    /// then.
    pub(in crate::breaker) fn begin_stream(
        &'static self,
        ticket: Ticket,
        alive_after: Duration,
        elapsed: Option<Duration>,
    ) -> StreamProof {
        let proof = StreamProof::default();
        let stream = Stream { elapsed, proof: proof.clone() };
        self.transact(|machine, effects| {
            machine.begin_stream(ticket, alive_after, stream, effects);
        });
        proof
    }

    /// Ends a call without an outcome, however long it took.
    pub(in crate::breaker) fn cancel(&'static self, ticket: Ticket) {
        self.transact(|machine, effects| {
            if std::thread::panicking() {
                machine.cancel_by_panic(ticket, effects);
            } else {
                machine.cancel(ticket, effects);
            }
        });
    }

    /// Ends a call that was dropped before it had an outcome. Returns whether it is a failure.
    pub(in crate::breaker) fn abandon(
        &'static self,
        ticket: Ticket,
        admitted: Option<Tick>,
    ) -> bool {
        let failed = self.transact(|machine, effects| {
            let elapsed = admitted.map(|admitted| machine.now.since(admitted));
            machine.abandon(ticket, elapsed, effects)
        });
        failed == Some(true)
    }
}
