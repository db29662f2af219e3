//! Which breakers' calls run on this thread: the same breaker further in is recognized, and leaves
//! the record to the one further out.

use std::cell::Cell as LocalCell;

use super::cell::Cell;

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
pub(crate) fn is_nested(cell: &'static Cell) -> bool {
    let innermost = INNERMOST.get();
    innermost != 0 && is_among(innermost, cell)
}

/// Whether the inner service of any breaker runs on this thread.
#[inline]
pub(crate) fn is_any_running() -> bool {
    INNERMOST.get() != 0
}

#[cold]
#[inline(never)]
fn is_among(innermost: usize, cell: &'static Cell) -> bool {
    let is_it = |breaker: usize| breaker & !REMEMBERED == address(cell);
    let around = innermost & REMEMBERED;
    is_it(innermost) || AROUND.with(|all| all[..around].iter().any(|one| is_it(one.get())))
}

/// Runs the inner service of this breaker, or the work of a call by hand.
#[inline]
pub(crate) fn run_within<T>(cell: &'static Cell, work: impl FnOnce() -> T) -> T {
    let _scope = Scope::enter(cell);
    work()
}

/// The same for work that is handed over by value, as is the request of a call.
///
/// Inside of another breaker it is done out of line, because without one there is nothing to keep
/// until the end of the work.
#[inline]
pub(crate) fn start_within<T>(cell: &'static Cell, work: impl FnOnce() -> T) -> T {
    if is_any_running() {
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
