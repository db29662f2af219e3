//! Which error a breaker has just returned on this thread.
//!
//! An outer breaker gets the [`Error<E>`](crate::error::Error) of an inner one as a value of an
//! unknown type, and cannot look into it unless its type [has been met](super::wrapped). But the
//! inner breaker has returned it just before and on the same thread, where it notes the type of
//! each rejection. An error of another type is not the one that the inner breaker returned.

use std::{any::type_name, cell::Cell};

thread_local! {
    /// The type of the error that a breaker of this thread returned last, if it was a rejection.
    static REJECTION: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// A breaker returns a rejection as an error of this type.
#[inline]
pub(crate) fn note_rejection<E: ?Sized>() {
    REJECTION.set(Some(type_name::<E>()));
}

/// A breaker returns the error of its inner service or of its work, of type `E`, as an `Outer`. If
/// it `is_outermost`, no classifier asks for it.
#[inline]
pub(crate) fn note_passed_error<E: ?Sized, Outer: ?Sized>(is_outermost: impl FnOnce() -> bool) {
    if REJECTION.get().is_some() {
        pass_on::<E, Outer>(is_outermost);
    }
}

// Out of line: a future's poll would save more registers for it.
#[cold]
#[inline(never)]
fn pass_on<E: ?Sized, Outer: ?Sized>(is_outermost: impl FnOnce() -> bool) {
    let goes_on = is_rejection::<E>() && !is_outermost();
    REJECTION.set(goes_on.then(type_name::<Outer>));
}

/// Whether the last error that a breaker returned on this thread was a rejection, of this type.
pub(in crate::classify) fn is_rejection<E: ?Sized>() -> bool {
    REJECTION.get() == Some(type_name::<E>())
}
