//! Which breakers' calls run on this thread: the same breaker further in is recognized, and leaves
//! the record to the one further out.

#[cfg(feature = "keyed")]
pub(crate) mod key_mark;

use std::cell::Cell as LocalCell;

use super::cell::Cell;
use crate::classify;

/// How many breakers around the innermost one are remembered: with its own, as many as the low
/// bits of the address of a [`Cell`] can count.
const REMEMBERED: usize = align_of::<Cell>() - 1;

/// A request or future of more bytes than this does not stay in registers anyway.
pub(crate) const LARGE: usize = 64;

thread_local! {
    /// The address of the cell of the innermost breaker whose inner service runs on this thread,
    /// or the mark of its key, plus the number of breakers around it; 0 if there is none. They are
    /// only compared.
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
pub(crate) fn is_nested(cell: &'static Cell) -> bool {
    let innermost = INNERMOST.get();
    innermost != 0 && is_among(innermost, address(cell))
}

/// Whether the inner service of any breaker runs on this thread.
// Not compared with 0, as where one is entered: the compiler would keep the answer from there in a
// register, at each call, for the few that ask. No address is as low as this.
#[inline]
pub(crate) fn is_any_running() -> bool {
    INNERMOST.get() > REMEMBERED
}

/// A breaker returns a rejection as an error of this type, perhaps to another one further out. If
/// there is none, it is part of no call, and must not be taken for part of a later one.
// Out of line: a future's poll would save more registers for it.
#[inline(never)]
pub(crate) fn note_rejection<E: ?Sized>() {
    if is_any_running() {
        classify::note_rejection::<E>();
    }
}

/// A breaker returns the error of its inner service or of its work, of type `E`, as an `Outer`.
#[inline]
pub(crate) fn note_passed_error<E: ?Sized, Outer: ?Sized>() {
    classify::note_passed_error::<E, Outer>(|| !is_any_running());
}

#[cold]
#[inline(never)]
fn is_among(innermost: usize, wanted: usize) -> bool {
    let is_it = |breaker: usize| breaker & !REMEMBERED == wanted;
    let around = innermost & REMEMBERED;
    is_it(innermost) || AROUND.with(|all| all[..around].iter().any(|one| is_it(one.get())))
}

/// Runs the inner service of this breaker, or the work of a call by hand.
#[inline]
pub(crate) fn run_within<T>(cell: &'static Cell, work: impl FnOnce() -> T) -> T {
    let _scope = Scope::enter(address(cell));
    work()
}

/// Like [`run_within`], for work that is handed over by value, as is the request of a call.
///
/// Inside of another breaker, small work is done out of line, because without one there is nothing
/// to keep until the end of the work.
#[inline]
pub(crate) fn start_within<T, W: FnOnce() -> T>(cell: &'static Cell, work: W) -> T {
    // A large closure would be copied for the function out of line, also in calls that do not reach
    // it.
    if const { size_of::<W>() > LARGE } {
        return run_within(cell, work);
    }
    if INNERMOST.get() != 0 {
        return start_further_in(cell, work);
    }
    INNERMOST.set(address(cell));
    let _scope = Scope { outer: 0 };
    work()
}

#[cold]
#[inline(never)]
fn start_further_in<T>(cell: &'static Cell, work: impl FnOnce() -> T) -> T {
    run_within(cell, work)
}

/// Marks the breaker as the innermost one while it exists.
struct Scope {
    outer: usize,
}

impl Scope {
    #[inline]
    fn enter(breaker: usize) -> Self {
        let outer = INNERMOST.replace(breaker);
        if outer != 0 {
            INNERMOST.set(inside(outer, breaker));
        }
        Self { outer }
    }
}

/// The value of `INNERMOST` for a breaker inside of this one, which is remembered.
#[cold]
#[inline(never)]
fn inside(outer: usize, breaker: usize) -> usize {
    let around = outer & REMEMBERED;
    // One more is not remembered: inside of it, calls of that breaker count.
    let remember = |all: &[LocalCell<usize>]| all.get(around).map(|next| next.set(outer));
    breaker + around + usize::from(AROUND.with(|all| remember(all)).is_some())
}

impl Drop for Scope {
    #[inline]
    fn drop(&mut self) {
        INNERMOST.set(self.outer);
    }
}
