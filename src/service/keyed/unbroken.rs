//! A call of a key that has no breaker yet.

use crate::{
    breaker::Permit,
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

    pub(in crate::service) fn record(&mut self, outcome: Outcome) {
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
        match outcome {
            Outcome::Ignore => {}
            Outcome::Success => {
                self.breakers.with_late(&self.missing, record);
            }
            // It has been counted as unrecorded.
            _ if self.breakers.with_new(&self.missing, record).is_none() => self.is_counted = true,
            _ => {}
        }
        self.count(outcome.into());
    }

    /// Counts the end of the call for the group: there is no breaker that would.
    fn count(&mut self, end: CallEnd) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.breakers.group().cell().count_call(end);
        }
    }

    /// Runs the inner service's `call`, or polls its future. If it panics, the call is a failure,
    /// and the panic propagates.
    pub(in crate::service) fn run<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let mark = self.missing.mark();
        let guard = FailOnDrop(self);
        let result = mark.run(work);
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
