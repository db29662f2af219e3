//! Runs the inner service for a call: a panic counts as a failure, and the same breaker further in
//! is recognized.

use std::mem::ManuallyDrop;

pub(super) use crate::breaker::nesting::{is_nested, run_within, start_within};
use crate::{breaker::Permit, outcome::Outcome};

/// Runs the inner service's `call`. If it panics, the call is a failure, and the panic propagates.
#[inline]
pub(super) fn start<T>(permit: &Permit, work: impl FnOnce() -> T) -> T {
    let guard = FailStartOnPanic(permit.for_panic());
    let result = start_within(permit.cell(), work);
    std::mem::forget(guard);
    result
}

/// Dropped only by a panic.
struct FailStartOnPanic(ManuallyDrop<Permit>);

impl Drop for FailStartOnPanic {
    #[inline]
    fn drop(&mut self) {
        // By value: what is reachable from outside cannot stay in registers.
        fail_start(self.0.take());
    }
}

#[cold]
#[inline(never)]
fn fail_start(permit: Permit) {
    permit.note_failed_by_panic();
    fail(permit);
}

#[cold]
#[inline(never)]
fn fail(permit: Permit) {
    record_outermost(permit, Outcome::failure());
}

/// Polls the inner service's future, or the body of its response. If it panics, the call is a
/// failure, and the panic propagates.
#[inline]
pub(super) fn run<T>(permit: &mut Permit, work: impl FnOnce() -> T) -> T {
    // Dropped after the scope, so that a panic is recorded with the scope of the call.
    let guard = FailOnPanic(permit);
    let result = run_within(guard.0.cell(), work);
    std::mem::forget(guard);
    result
}

/// Dropped only by a panic.
struct FailOnPanic<'a>(&'a mut Permit);

impl Drop for FailOnPanic<'_> {
    #[inline]
    fn drop(&mut self) {
        fail(self.0.take());
    }
}

/// Classifies the end of a response's body. If the classifier panics, the call is a failure, and
/// the panic propagates.
#[cfg(feature = "http")]
#[inline]
pub(super) fn fail_on_panic<T>(permit: &mut Permit, classify: impl FnOnce() -> T) -> T {
    let guard = FailOnPanic(permit);
    let result = classify();
    std::mem::forget(guard);
    result
}

/// Classifies the result of a call, and records it. If the classifier panics, the call is a
/// failure, and the panic propagates.
///
/// The permit is taken out: its future may outlive the panic, and is not abandoned later. (A guard
/// that borrows the permit costs five instructions a call; this costs one.)
#[inline]
pub(super) fn end<T>(permit: &mut Permit, record: impl FnOnce(&mut Permit) -> T) -> T {
    let mut guard = FailEndOnPanic(ManuallyDrop::new(permit.take()));
    let result = record(&mut guard.0);
    drop(guard.0.take());
    std::mem::forget(guard);
    result
}

/// Dropped only by a panic.
struct FailEndOnPanic(ManuallyDrop<Permit>);

impl Drop for FailEndOnPanic {
    #[inline]
    fn drop(&mut self) {
        fail(self.0.take());
    }
}

/// Records the outcome of a call, unless it is part of a call that the breaker records further out.
#[inline]
pub(super) fn record(permit: &mut Permit, outcome: Outcome) {
    // A success has a path of its own: there, the compiler need not write the outcome to memory.
    if outcome == Outcome::Success {
        permit.succeed_unless_nested();
    } else {
        record_outermost(permit.take(), outcome);
        permit.set_recorded();
    }
}

/// Records the outcome of a call that returned an error: seldom a success.
#[inline]
pub(super) fn record_error(permit: &mut Permit, outcome: Outcome) {
    record_outermost(permit.take(), outcome);
    permit.set_recorded();
}

// Out of line, as is everything but a quiet success, and by value: what is inlined into the poll of
// a future is so short that the poll is inlined too.
#[inline(never)]
fn record_outermost(mut permit: Permit, outcome: Outcome) {
    if matches!(outcome, Outcome::Failure { .. }) && permit.try_fail_unless_nested() {
        // As most of them end: what else the permit and the outcome say does not matter.
        permit.set_recorded();
    } else if is_nested(permit.cell()) {
        permit.discard_in_place();
    } else {
        permit.finish(outcome);
    }
}

/// Whether the call is not recorded here: it is part of another one, or its request does not count.
#[cfg(feature = "http")]
pub(super) fn is_uncounted(permit: &mut Permit) -> bool {
    if is_nested(permit.cell()) {
        permit.discard_in_place();
        return true;
    }
    permit.is_void()
}
