//! A call of a key that has no breaker yet.

use crate::{
    breaker::{Permit, cell::Cell},
    handle::Breaker,
    outcome::{CallEnd, Outcome},
    registry::{KeyedBreakers, Missing},
};

/// A call that was admitted because its key has no breaker. Its failure creates one.
///
/// Dropped without an outcome, it counts as nothing, and as cancelled for the metrics.
pub(in crate::service) struct UnbrokenCall {
    missing: Missing,
    breakers: KeyedBreakers,
    is_counted: bool,
}

impl UnbrokenCall {
    pub(in crate::service) fn new(missing: Missing, breakers: KeyedBreakers) -> Self {
        Self { missing, breakers, is_counted: false }
    }

    /// The cell by which a call of the same group further in is recognized.
    pub(in crate::service) fn cell(&self) -> &'static Cell {
        self.breakers.group().cell()
    }

    pub(in crate::service) fn record(&mut self, outcome: Outcome) {
        self.count(outcome.into());
        // Another call may have created the breaker meanwhile. If that has made a transition, this
        // call belongs to an earlier state, and its outcome changes nothing.
        let record = |breaker: &Breaker| {
            let has_transitioned =
                breaker.cell().inspect(|machine, _| machine.has_transitioned()) != Some(false);
            if has_transitioned {
                return;
            }
            if let Some(permit) = Permit::try_acquire_fast(breaker.cell(), || false) {
                permit.uncounted().finish(outcome);
            }
        };
        if outcome == Outcome::Success {
            self.breakers.with_late(&self.missing, record);
        } else if outcome != Outcome::Ignore {
            self.breakers.with_new(&self.missing, record);
        }
    }

    /// Counts the end of the call for the group: there is no breaker that would.
    fn count(&mut self, end: CallEnd) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.cell().count_call(end);
        }
    }

    /// Does a part of the call's work. If it panics, the call is a failure, and the panic
    /// propagates.
    pub(in crate::service) fn fail_on_panic<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let guard = FailOnDrop(self);
        let result = work();
        std::mem::forget(guard);
        result
    }
}

impl Drop for UnbrokenCall {
    fn drop(&mut self) {
        self.count(CallEnd::Cancelled);
    }
}

/// Dropped only by a panic.
struct FailOnDrop<'a>(&'a mut UnbrokenCall);

impl Drop for FailOnDrop<'_> {
    #[cold]
    fn drop(&mut self) {
        self.0.record(Outcome::failure());
    }
}
