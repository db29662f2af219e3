//! Whether the response of a call is the answer of a breaker further in, which rejected the call.
//!
//! A classifier of responses finds the rejection in the extensions. The default one takes any type,
//! and cannot look into one. But the inner breaker has answered just before, on the same thread,
//! and within the same poll of the outer call. There it notes the type of its answer, if a breaker
//! further out watches. Only a breaker around HTTP responses with such a classifier does.

use std::{any::type_name, cell::Cell};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watched {
    Nothing,
    /// The poll of a call. No breaker has answered in it, or another one has passed a response on.
    Poll,
    /// The poll of a call in which a breaker has answered with a response of this type.
    Answer(&'static str),
}

thread_local! {
    static WATCHED: Cell<Watched> = const { Cell::new(Watched::Nothing) };
}

/// Watches while it exists: during a poll of a call, and while its result is classified.
#[must_use]
pub(crate) struct Watch {
    /// What was watched further out.
    around: Option<Watched>,
}

impl Watch {
    /// Watches if the classifier cannot look into its response, and `T` may be the answer of a
    /// breaker.
    // A comparison of constants: for other types, the compiler leaves nothing of it.
    #[inline]
    pub(in crate::classify) fn begin<T>(is_blind: bool) -> Self {
        let watches = is_blind && is_response::<T>();
        Self { around: watches.then(|| WATCHED.replace(Watched::Poll)) }
    }
}

impl Drop for Watch {
    #[inline]
    fn drop(&mut self) {
        // Otherwise, a breaker further out sees the answer too.
        if self.around == Some(Watched::Nothing) {
            WATCHED.set(Watched::Nothing);
        }
    }
}

/// A breaker answers a rejected call with a response of the type `T`.
#[cfg(feature = "http")]
pub(crate) fn note_answer<T>() {
    if WATCHED.get() != Watched::Nothing {
        WATCHED.set(Watched::Answer(type_name::<T>()));
    }
}

/// A response to a rejected call, of type `T`, is passed on as an `Outer`: with another body.
#[inline]
pub(crate) fn note_passed_answer<T, Outer>() {
    if is_response::<T>() && WATCHED.get() == Watched::Answer(type_name::<T>()) {
        WATCHED.set(Watched::Answer(type_name::<Outer>()));
    }
}

/// Whether a breaker has answered with a response of this type in the poll that is watched.
#[inline]
pub(in crate::classify) fn is_answer<T>() -> bool {
    is_response::<T>() && WATCHED.get() == Watched::Answer(type_name::<T>())
}

#[inline]
fn is_response<T>() -> bool {
    type_name::<T>().starts_with("http::response::Response<")
}
