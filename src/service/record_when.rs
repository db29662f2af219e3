//! When the outcome of a call is recorded: when the response arrives, or when its body has ended.

use crate::{breaker::Permit, classify::Classify};

/// Says when the outcome of an admitted call is known: [`OnResponse`] or, with feature `http`,
/// `OnBodyEnd`.
///
/// It is for these two alone: who is given a permit here has to settle it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot record the outcome of a call with the response `{T}`, classified \
               by `{C}`",
    note = "`.on_body_end(..)` and `.grpc()` need the response `http::Response<B>` with \
            `B: http_body::Body`, and a classifier that implements `ClassifyBody`"
)]
pub trait RecordWhen<C, T, E>: sealed::Sealed {
    /// What the caller gets: the inner service's response, or one that is watched.
    type Response;

    /// The call has come to a result.
    #[doc(hidden)]
    fn settle(
        &self,
        classify: &C,
        result: Result<T, E>,
        permit: &mut Permit,
    ) -> Result<Self::Response, E>;

    /// The response to a call that was rejected: nothing hangs on it.
    #[doc(hidden)]
    fn pass(response: T) -> Self::Response;
}

/// When the response is there the outcome is known: the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct OnResponse;

impl sealed::Sealed for OnResponse {}

impl<C: Classify<T, E>, T, E> RecordWhen<C, T, E> for OnResponse {
    type Response = T;

    #[inline]
    fn settle(&self, classify: &C, result: Result<T, E>, permit: &mut Permit) -> Result<T, E> {
        permit.record_in_place(classify.classify(&result), None);
        result
    }

    #[inline]
    fn pass(response: T) -> T {
        response
    }
}

pub(super) mod sealed {
    pub trait Sealed {}
}
