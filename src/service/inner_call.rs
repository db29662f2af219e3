//! Runs the inner service for a call: a panic counts as a failure, and the same breaker further in
//! is recognized.

use std::{cell::Cell as LocalCell, mem::ManuallyDrop};

use crate::{
    breaker::{Permit, cell::Cell},
    outcome::Outcome,
};

/// How many breakers around the innermost one are remembered: with its own, as many as the low
/// bits of the address of a [`Cell`] can count.
const REMEMBERED: usize = align_of::<Cell>() - 1;

thread_local! {
    /// The address of the cell of the innermost breaker whose inner service runs on this thread,
    /// plus the number of breakers around it; 0 if there is none. Addresses are only compared.
    static INNERMOST: LocalCell<usize> = const { LocalCell::new(0) };

    /// The breakers around the innermost one, the outermost first: each as it was in `INNERMOST`.
    /// What is beyond their number is left from calls that have ended.
    static AROUND: [LocalCell<usize>; REMEMBERED] =
        const { [const { LocalCell::new(0) }; REMEMBERED] };
}

fn address(cell: &'static Cell) -> usize {
    std::ptr::from_ref(cell).addr()
}

/// Whether the inner service of this breaker runs on this thread. A call that this breaker meets
/// now is part of one that it has admitted already.
#[inline]
pub(super) fn is_nested(cell: &'static Cell) -> bool {
    let innermost = INNERMOST.get();
    innermost != 0 && is_among(innermost, cell)
}

#[cold]
#[inline(never)]
fn is_among(innermost: usize, cell: &'static Cell) -> bool {
    let is_it = |breaker: usize| breaker & !REMEMBERED == address(cell);
    let around = innermost & REMEMBERED;
    is_it(innermost) || AROUND.with(|all| all[..around].iter().any(|one| is_it(one.get())))
}

/// Marks the breaker as the innermost one while it exists.
struct Scope {
    outer: usize,
}

impl Scope {
    #[inline]
    fn enter(cell: &'static Cell) -> Self {
        let outer = INNERMOST.replace(address(cell));
        if outer != 0 {
            INNERMOST.set(inside(outer, cell));
        }
        Self { outer }
    }
}

/// The value of `INNERMOST` for a breaker inside of this one, which is remembered.
#[cold]
#[inline(never)]
fn inside(outer: usize, cell: &'static Cell) -> usize {
    let around = outer & REMEMBERED;
    // One more is not remembered: inside of it, calls of that breaker count.
    let remember = |all: &[LocalCell<usize>]| all.get(around).map(|next| next.set(outer));
    address(cell) + around + usize::from(AROUND.with(|all| remember(all)).is_some())
}

impl Drop for Scope {
    #[inline]
    fn drop(&mut self) {
        INNERMOST.set(self.outer);
    }
}

/// Runs the inner service's `poll_ready`, which belongs to no call yet.
#[inline]
pub(super) fn run_within<T>(cell: &'static Cell, work: impl FnOnce() -> T) -> T {
    let _scope = Scope::enter(cell);
    work()
}

/// Runs the inner service's `call`. If it panics, the call is a failure, and the panic propagates.
#[inline]
pub(super) fn start<T>(permit: &Permit, work: impl FnOnce() -> T) -> T {
    let guard = FailStartOnPanic(permit.for_panic());
    let result = run_within(permit.cell(), work);
    std::mem::forget(guard);
    result
}

/// Dropped only by a panic.
struct FailStartOnPanic(ManuallyDrop<Permit>);

impl Drop for FailStartOnPanic {
    #[inline]
    fn drop(&mut self) {
        // By value: what is reachable from outside cannot stay in registers.
        fail(self.0.take());
    }
}

#[cold]
#[inline(never)]
fn fail(mut permit: Permit) {
    record_outermost(&mut permit, Outcome::failure());
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
        record_outermost(self.0, Outcome::failure());
    }
}

/// Records the outcome of a call, unless it is part of a call that the breaker records further out.
#[inline]
pub(super) fn record(permit: &mut Permit, outcome: Outcome) {
    // A success has a path of its own: there, the compiler need not write the outcome to memory.
    if outcome == Outcome::Success {
        // To drop the permit of a success that is skipped takes no work either.
        if !permit.skips_success() {
            record_success(permit);
        }
    } else {
        record_outermost(permit, outcome);
    }
}

/// Records the outcome of a call that returned an error: seldom a success.
#[inline]
pub(super) fn record_error(permit: &mut Permit, outcome: Outcome) {
    record_outermost(permit, outcome);
}

// Everything but a quiet success is out of line. What is inlined into the poll of a future is so
// short that the poll is inlined too.
#[inline(never)]
fn record_success(permit: &mut Permit) {
    // Most often, no breaker is around this one.
    if INNERMOST.get() != 0 || !permit.try_success() {
        return record_outermost(permit, Outcome::Success);
    }
    permit.set_recorded();
}

#[inline(never)]
fn record_outermost(permit: &mut Permit, outcome: Outcome) {
    if is_nested(permit.cell()) {
        permit.cancel_in_place();
    } else {
        permit.record_in_place(outcome, None);
    }
    permit.set_recorded();
}

/// Whether the call is not recorded here: it is part of another one, or its request does not count.
#[cfg(feature = "http")]
pub(super) fn is_uncounted(permit: &mut Permit) -> bool {
    if is_nested(permit.cell()) {
        permit.cancel_in_place();
        return true;
    }
    permit.is_void()
}
