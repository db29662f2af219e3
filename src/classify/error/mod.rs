//! What an error says about the dependency.

mod known;
mod request;
pub(crate) mod returned;
pub(crate) mod returned_response;
mod wrapped;

pub use request::is_request_error;

use std::error::Error as StdError;

use wrapped::Opened;

#[cfg(feature = "tonic")]
use super::rejection_token;
#[cfg(feature = "tonic")]
use crate::error::{causes, downcast};
use crate::{error::Rejected, outcome::Outcome};

/// The outcome of a call that returned an error: a failure, unless the dependency has no part in
/// it.
#[cold]
pub(crate) fn outcome_of_error<E: 'static>(error: &E) -> Outcome {
    wrapped::remember::<E>();
    let ignored = match known::as_cause(error).map_or_else(|| wrapped::open(error), Opened::Cause) {
        Opened::Cause(cause) => is_not_of_the_dependency(cause),
        Opened::Opaque => false,
        Opened::Unknown => returned::is_rejection::<E>(),
    };
    if ignored { Outcome::Ignore } else { Outcome::failure() }
}

/// The error as one that can be searched, if its type is known.
#[cfg(feature = "http")]
pub(crate) fn as_cause<E: 'static>(error: &E) -> Option<&(dyn StdError + 'static)> {
    known::as_cause(error).or_else(|| wrapped::as_cause(error))
}

/// Whether another breaker rejected the call, or the request itself is at fault.
pub(super) fn is_not_of_the_dependency(error: &(dyn StdError + 'static)) -> bool {
    Rejected::find(error).is_some() || is_status_of_rejection(error) || is_request_error(error)
}

/// Whether a gRPC client has turned the response to a rejected call into a status.
#[cfg(feature = "tonic")]
fn is_status_of_rejection(error: &(dyn StdError + 'static)) -> bool {
    let is_one = |status: &tonic::Status| rejection_token::is_in(status.metadata().as_ref());
    causes(error).any(|cause| downcast(cause).is_some_and(is_one))
}

#[cfg(not(feature = "tonic"))]
fn is_status_of_rejection(_: &(dyn StdError + 'static)) -> bool {
    false
}

/// Whether a body returned this error because of the request, or because of another breaker.
#[cfg(feature = "http")]
pub(super) fn is_of_the_upload(error: &(dyn StdError + 'static)) -> bool {
    Rejected::find(error).is_some() || request::breaks_an_upload(error)
}
