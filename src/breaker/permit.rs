//! The permission to make one call.

use std::{fmt, mem::ManuallyDrop, time::Duration};

use super::{admission::Ticket, cell::Cell, packed_state::PackedState};
use crate::{clock::Tick, error::Refusal, outcome::Outcome, state::State};

/// Permission to make one call; consume it by recording the outcome.
///
/// A permit that is dropped without an outcome, also by a panic, counts as a cancelled call: it
/// changes nothing, and a probe's slot becomes free again.
///
/// An outcome that is recorded after the circuit has changed its state, or after the breaker is
/// gone, changes nothing either.
///
/// ```
/// use tower_breaker::Breaker;
///
/// let breaker = Breaker::builder("mailer").build()?;
/// let permit = breaker.try_acquire()?;
/// // ... send the mail ...
/// permit.success();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a permit that is dropped counts as a cancelled call"]
pub struct Permit {
    cell: &'static Cell,
    /// The state that admitted the call. A half-open circuit admitted a probe.
    state: PackedState,
    /// The id of a probe; the tick at which any other call was admitted, or [`Tick::NEVER`] where
    /// no rule needs it. (One field for both: a future contains a permit, and moves it.)
    stamp: u64,
}

impl Permit {
    /// Admits a call, or says why not.
    #[inline]
    pub(crate) fn try_acquire(cell: &'static Cell) -> Result<Self, Refusal> {
        if let Some(permit) = Self::try_acquire_fast(cell) {
            return Ok(permit);
        }
        Self::try_acquire_slow(cell)
    }

    /// Admits a call without the lock, if every call is admitted.
    #[inline]
    pub(crate) fn try_acquire_fast(cell: &'static Cell) -> Option<Self> {
        let state = cell.state();
        if !state.admits_all() {
            return None;
        }
        let admitted = if state.is_timed() { cell.now(state) } else { Tick::NEVER };
        Some(Self { cell, state, stamp: admitted.as_nanos() })
    }

    #[inline(never)]
    fn try_acquire_slow(cell: &'static Cell) -> Result<Self, Refusal> {
        if let Some(refusal) = cell.refusal(cell.state()) {
            return Err(refusal);
        }
        Self::try_acquire_locked(cell)
    }

    #[cold]
    #[inline(never)]
    fn try_acquire_locked(cell: &'static Cell) -> Result<Self, Refusal> {
        let admitted = cell.admit()?;
        let stamp = admitted.ticket.probe.unwrap_or(admitted.at.as_nanos());
        Ok(Self { cell, state: admitted.state, stamp })
    }

    /// Moves the permit out, and leaves a spent one behind.
    pub(crate) fn take(&mut self) -> Self {
        let spent = Self { cell: self.cell, state: PackedState::SPENT, stamp: 0 };
        std::mem::replace(self, spent)
    }

    /// How long ago the call was admitted; `None` where no rule needs to know.
    pub(crate) fn elapsed(&self) -> Option<Duration> {
        if self.is_probe() {
            return self.cell.inspect(|machine, _| machine.probe_age(self.ticket()))?;
        }
        let admitted = self.admitted_at()?;
        Some(self.cell.now(self.state).since(admitted))
    }

    #[inline]
    fn is_probe(&self) -> bool {
        self.state.state() == State::HalfOpen
    }

    fn ticket(&self) -> Ticket {
        self.state.ticket(self.is_probe().then_some(self.stamp))
    }

    /// When a call other than a probe was admitted.
    fn admitted_at(&self) -> Option<Tick> {
        let admitted = Tick::from_nanos(self.stamp);
        (admitted != Tick::NEVER).then_some(admitted)
    }

    /// Records a success. The call took the time since it was admitted.
    #[inline]
    pub fn success(self) {
        self.finish(Outcome::Success);
    }

    /// Records a failure.
    #[inline]
    pub fn failure(self) {
        self.finish(Outcome::failure());
    }

    /// Records that the call says nothing about the dependency.
    #[inline]
    pub fn ignore(self) {
        self.finish(Outcome::Ignore);
    }

    /// Records an outcome. The call took the time since it was admitted.
    #[inline]
    pub fn finish(mut self, outcome: Outcome) {
        self.record_in_place(outcome, None);
    }

    /// Records an outcome and the time that the call took.
    #[inline]
    pub fn record(mut self, outcome: Outcome, elapsed: Duration) {
        self.record_in_place(outcome, Some(elapsed));
    }

    /// Records an outcome without moving the permit, which a finished future would have to.
    #[inline]
    pub(crate) fn record_in_place(&mut self, outcome: Outcome, elapsed: Option<Duration>) {
        // Most calls end here: they succeed, and nothing has happened since their admission.
        if outcome == Outcome::Success && self.cell.skips_success(self.state) {
            return;
        }
        self.record_slow(outcome, elapsed);
    }

    #[inline(never)]
    fn record_slow(&mut self, outcome: Outcome, elapsed: Option<Duration>) {
        if outcome != Outcome::Success
            || self.is_probe()
            || !self.cell.try_record_success(self.state, Tick::from_nanos(self.stamp), elapsed)
        {
            self.record_locked(outcome, elapsed);
        }
    }

    #[cold]
    #[inline(never)]
    fn record_locked(&mut self, outcome: Outcome, elapsed: Option<Duration>) {
        if self.is_probe() {
            // Spent before it is recorded: from here on there is no slot to give back.
            let probe = ManuallyDrop::new(self.take());
            probe.cell.record(probe.ticket(), None, outcome, elapsed);
        } else if outcome != Outcome::Ignore {
            self.cell.record(self.ticket(), self.admitted_at(), outcome, elapsed);
        }
    }

    #[cold]
    #[inline(never)]
    fn cancel(&self) {
        self.cell.cancel(self.ticket());
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if self.is_probe() {
            self.cancel();
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("probe", &self.is_probe())
            .field("elapsed", &self.elapsed())
            .finish_non_exhaustive()
    }
}
