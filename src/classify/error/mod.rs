//! What an error says about the dependency.

mod known;
mod request;
pub(crate) mod returned;
mod wrapped;

pub use request::is_request_error;

use std::error::Error as StdError;

use crate::{error::Rejected, outcome::Outcome};

/// The outcome of a call that returned an error: a failure, unless the dependency has no part in
/// it.
#[cold]
pub(crate) fn outcome_of_error<E: 'static>(error: &E) -> Outcome {
    wrapped::remember::<E>();
    let ignored = match as_cause(error) {
        Some(cause) => is_not_of_the_dependency(cause),
        None => returned::is_rejection::<E>(),
    };
    if ignored { Outcome::Ignore } else { Outcome::failure() }
}

/// The error as one that can be searched, if its type is known.
pub(crate) fn as_cause<E: 'static>(error: &E) -> Option<&(dyn StdError + 'static)> {
    known::as_cause(error).or_else(|| wrapped::as_cause(error))
}

/// Whether another breaker rejected the call, or the request itself is at fault.
pub(super) fn is_not_of_the_dependency(error: &(dyn StdError + 'static)) -> bool {
    Rejected::find(error).is_some() || is_request_error(error)
}

/// Whether a body returned this error because of the request, or because of another breaker.
#[cfg(feature = "http")]
pub(super) fn is_of_the_upload(error: &(dyn StdError + 'static)) -> bool {
    Rejected::find(error).is_some() || request::breaks_an_upload(error)
}
