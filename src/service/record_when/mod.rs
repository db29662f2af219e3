//! When the outcome of a call is recorded: when its response arrives, or when the response's body
//! has ended.

mod exempt;

pub use self::exempt::Exempt;
use super::inner_call;
use crate::{breaker::Permit, classify::Classify, outcome::Outcome};

/// Says when the outcome of an admitted call is recorded: [`OnResponse`] or, with feature `http`,
/// [`OnBodyEnd`](crate::OnBodyEnd).
///
/// It is sealed. An implementation is handed the call's permit and has to record its outcome.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot record the outcome of a call with the response `{T}`, classified \
               by `{C}`",
    note = "`.on_body_end(..)` and `.grpc()` need the response `http::Response<B>` with \
            `B: http_body::Body`, and a classifier that implements `ClassifyBody`"
)]
pub trait RecordWhen<C, T, E>: sealed::Sealed {
    /// The response of the whole service: the inner service's, or one with a watched body.
    type Response;

    /// Called with the result of the inner service.
    #[doc(hidden)]
    fn record(
        &self,
        classify: &C,
        result: Result<T, E>,
        permit: &mut Permit,
    ) -> Result<Self::Response, E>;

    /// Called with the response to a call that is not recorded, such as a rejected one.
    #[doc(hidden)]
    fn pass_unrecorded(response: T) -> Self::Response;

    /// Whether the outcome is known when the response arrives.
    #[doc(hidden)]
    const IS_KNOWN_WITH_RESPONSE: bool = false;

    /// The outcome, if it is known when the response arrives.
    #[doc(hidden)]
    fn outcome_of_response(&self, classify: &C, result: &Result<T, E>) -> Option<Outcome> {
        let _ = (classify, result);
        None
    }
}

/// Says which requests count. The others pass through without a record.
///
/// It is sealed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot tell whether a `{Request}` counts",
    note = "`.grpc()` needs requests of the type `http::Request<B>`"
)]
pub trait AppliesTo<Request>: sealed::Sealed {
    /// Whether requests that do not count pass also while the circuit rejects calls.
    #[doc(hidden)]
    const PASSES_WHILE_OPEN: bool = false;

    /// Whether a call with this request counts.
    #[doc(hidden)]
    #[inline]
    fn applies_to(&self, request: &Request) -> bool {
        let _ = request;
        true
    }
}

/// Records the outcome when the response arrives: the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct OnResponse;

impl sealed::Sealed for OnResponse {}

impl<Request> AppliesTo<Request> for OnResponse {}

impl<C: Classify<T, E>, T, E> RecordWhen<C, T, E> for OnResponse {
    type Response = T;

    #[inline]
    fn record(&self, classify: &C, result: Result<T, E>, permit: &mut Permit) -> Result<T, E> {
        // Most classifiers look at the variant first. With a result for each arm, a response is
        // never written to memory for the sake of an error that is looked at elsewhere.
        match result {
            Ok(response) => {
                let result = Ok(response);
                inner_call::record(permit, classify.classify(&result));
                result
            }
            Err(error) => {
                let result = Err(error);
                inner_call::record_error(permit, classify.classify(&result));
                result
            }
        }
    }

    #[inline]
    fn pass_unrecorded(response: T) -> T {
        response
    }

    const IS_KNOWN_WITH_RESPONSE: bool = true;

    #[inline]
    fn outcome_of_response(&self, classify: &C, result: &Result<T, E>) -> Option<Outcome> {
        Some(classify.classify(result))
    }
}

pub(in crate::service) mod sealed {
    pub trait Sealed {}
}
