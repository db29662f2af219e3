//! What an error says about the dependency.

mod known;
mod request;
mod wrapped;

#[cfg(feature = "tonic")]
pub(super) use known::as_cause;
pub use request::is_request_error;

use std::error::Error as StdError;

use crate::{error::Rejected, outcome::Outcome};

/// The outcome of a call that returned an error: a failure, unless the dependency has no part in
/// it.
#[cold]
pub(super) fn outcome_of_error<E: 'static>(error: &E) -> Outcome {
    let wrapped = wrapped::find(error);
    if wrapped || known::as_cause(error).is_some_and(is_not_of_the_dependency) {
        Outcome::Ignore
    } else {
        Outcome::failure()
    }
}

/// Whether another breaker rejected the call, or the request itself is at fault.
fn is_not_of_the_dependency(error: &(dyn StdError + 'static)) -> bool {
    Rejected::find(error).is_some() || is_request_error(error)
}
