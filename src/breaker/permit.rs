use std::{fmt, time::Duration};

use super::{cell::Cell, packed_state::PackedState};
use crate::{Outcome, State, clock::Tick};

/// Leave to make one call, to be given back with the call's result.
///
/// Dropped without a result, the call counts as cancelled: it touches nothing, and a probe's
/// slot comes back. That also happens when the work panics.
///
/// A result that comes after the circuit has changed its state, or after the breaker is gone,
/// changes nothing.
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
    /// The word that admitted the call. That of a half-open circuit admitted a probe.
    word: PackedState,
    /// The number of a probe; of another call, the tick of its admission, where that matters.
    /// (One field for two: a future holds a permit, and is moved with every call.)
    mark: u64,
}

impl Permit {
    /// Leave for a call that is no probe. The time is [`Tick::NEVER`] where nobody wants it.
    #[inline]
    pub(super) fn new(cell: &'static Cell, word: PackedState, admitted: Tick) -> Self {
        Self { cell, word, mark: admitted.as_nanos() }
    }

    pub(super) fn probe(cell: &'static Cell, word: PackedState, number: u64) -> Self {
        Self { cell, word, mark: number }
    }

    /// Takes the permit out of its place, where a spent one stays.
    #[cfg(feature = "http")]
    pub(crate) fn take(&mut self) -> Self {
        let spent = Self { cell: self.cell, word: PackedState::SPENT, mark: 0 };
        std::mem::replace(self, spent)
    }

    /// How long ago the call was admitted; `None` where nobody wants to know.
    #[cfg(feature = "http")]
    pub(crate) fn elapsed(&self) -> Option<Duration> {
        if self.is_probe() {
            return self.cell.age(self.word.ticket(Some(self.mark)));
        }
        let admitted = Tick::from_nanos(self.mark);
        (admitted != Tick::NEVER).then(|| self.cell.time().since(admitted))
    }

    #[inline]
    fn is_probe(&self) -> bool {
        self.word.state() == State::HalfOpen
    }

    /// The call succeeded, and took the time since it was admitted.
    #[inline]
    pub fn success(self) {
        self.finish(Outcome::Success);
    }

    /// The call failed.
    #[inline]
    pub fn failure(self) {
        self.finish(Outcome::failure());
    }

    /// The call says nothing about the dependency.
    #[inline]
    pub fn ignore(self) {
        self.finish(Outcome::Ignore);
    }

    /// The call ended like this, and took the time since it was admitted.
    #[inline]
    pub fn finish(self, outcome: Outcome) {
        self.end(outcome, None);
    }

    /// The call ended like this, and took so long.
    #[inline]
    pub fn record(self, outcome: Outcome, elapsed: Duration) {
        self.end(outcome, Some(elapsed));
    }

    #[inline]
    fn end(mut self, outcome: Outcome, elapsed: Option<Duration>) {
        self.settle(outcome, elapsed);
    }

    /// Records how the call ended, in place: a future that is done need not move its permit.
    #[inline]
    pub(crate) fn settle(&mut self, outcome: Outcome, elapsed: Option<Duration>) {
        // Most calls end here: they succeed, and find the quiet word that admitted them.
        if outcome == Outcome::Success && self.cell.is_still(self.word) {
            return;
        }
        self.settle_otherwise(outcome, elapsed);
    }

    #[inline(never)]
    fn settle_otherwise(&mut self, outcome: Outcome, elapsed: Option<Duration>) {
        if outcome != Outcome::Success
            || self.is_probe()
            || !self.cell.record_quietly(self.word, Tick::from_nanos(self.mark), elapsed)
        {
            self.record_by_machine(outcome, elapsed);
        }
    }

    #[cold]
    #[inline(never)]
    fn record_by_machine(&mut self, outcome: Outcome, elapsed: Option<Duration>) {
        if self.is_probe() {
            let ticket = self.word.ticket(Some(self.mark));
            // From here on there is no slot to give back.
            self.word = PackedState::SPENT;
            self.cell.record(ticket, None, outcome, elapsed);
        } else if outcome != Outcome::Ignore {
            let admitted = Tick::from_nanos(self.mark);
            let known = (admitted != Tick::NEVER).then_some(admitted);
            self.cell.record(self.word.ticket(None), known, outcome, elapsed);
        }
    }

    #[cold]
    #[inline(never)]
    fn cancel(&self) {
        self.cell.cancel(self.word.ticket(Some(self.mark)));
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
        f.debug_struct("Permit").field("probe", &self.is_probe()).finish_non_exhaustive()
    }
}
