//! A call of a key that has no breaker yet.

use crate::{
    breaker::{Permit, cell::Cell, nesting::run_within},
    handle::Breaker,
    outcome::{CallEnd, Outcome},
    registry::{KeyedBreakers, Missing},
};

/// A call that was admitted because its key has no breaker. Its failure creates one.
///
/// Dropped without an outcome, it counts as nothing, and as cancelled for the metrics. It does not
/// keep the group: once that is gone, its end changes nothing, as with a permit.
pub(in crate::service) struct UnbrokenCall {
    missing: Missing,
    /// Of the group: it counts the call.
    cell: &'static Cell,
    is_counted: bool,
}

impl UnbrokenCall {
    #[inline]
    pub(in crate::service) fn new(missing: Missing, breakers: &KeyedBreakers) -> Self {
        Self { missing, cell: breakers.group().cell(), is_counted: false }
    }

    #[inline]
    pub(in crate::service) fn record(&mut self, outcome: Outcome) {
        // Most often, no breaker was created meanwhile.
        if outcome == Outcome::Success && self.missing.is_unchanged() {
            if !std::mem::replace(&mut self.is_counted, true) {
                self.cell.count_call(CallEnd::Success);
            }
            return;
        }
        self.record_with_breaker(outcome);
    }

    #[cold]
    #[inline(never)]
    fn record_with_breaker(&mut self, outcome: Outcome) {
        let Some(breakers) = KeyedBreakers::of(&self.missing) else { return };
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
                breakers.with_late(&self.missing, record);
            }
            // It has been counted as unrecorded.
            _ if breakers.with_new(&self.missing, record).is_none() => self.is_counted = true,
            _ => {}
        }
        self.count(outcome.into());
    }

    /// Counts the end of the call for the group, which is still there: there is no breaker that
    /// would.
    fn count(&mut self, end: CallEnd) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.cell.count_call(end);
        }
    }

    #[cold]
    #[inline(never)]
    fn cancel(&mut self) {
        // It keeps the group until the call is counted.
        let group = KeyedBreakers::of(&self.missing);
        if group.is_some() {
            self.count(CallEnd::Cancelled);
        }
    }

    /// Runs the inner service's `call`. If it panics, the call is a failure, and the panic
    /// propagates.
    #[inline]
    pub(in crate::service) fn start<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let mark = self.missing.mark();
        self.fail_on_panic(|| mark.run(work))
    }

    /// Polls the inner service's future. If it panics, the call is a failure, and the panic
    /// propagates.
    #[inline]
    pub(in crate::service) fn run<T>(&mut self, work: impl FnOnce() -> T) -> T {
        if self.missing.is_unchanged() { self.start(work) } else { self.run_late(work) }
    }

    /// [Runs](Self::run) once the group has another breaker. If it is the key's, the handler may
    /// use it, and what goes by it is part of this call.
    #[cold]
    #[inline(never)]
    fn run_late<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let breakers = KeyedBreakers::of(&self.missing);
        let breaker = breakers.and_then(|breakers| breakers.find_late(&mut self.missing));
        let mark = self.missing.mark();
        let work = || mark.run(work);
        self.fail_on_panic(|| match &breaker {
            Some(breaker) => run_within(breaker.cell(), work),
            None => work(),
        })
    }

    /// Does a part of the call, such as to classify its result. If it panics, the call is a
    /// failure, and the panic propagates.
    #[inline]
    pub(in crate::service) fn fail_on_panic<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let guard = FailUnbrokenOnDrop(self);
        let result = work();
        std::mem::forget(guard);
        result
    }
}

impl Drop for UnbrokenCall {
    #[inline]
    fn drop(&mut self) {
        if !self.is_counted {
            self.cancel();
        }
    }
}

/// Dropped only by a panic.
struct FailUnbrokenOnDrop<'a>(&'a mut UnbrokenCall);

impl Drop for FailUnbrokenOnDrop<'_> {
    #[cold]
    fn drop(&mut self) {
        self.0.record(Outcome::failure());
    }
}
