//! What becomes of a rejected call: an error, a response, a fallback, or a wait.
//!
//! | the caller gets | with |
//! |---|---|
//! | an [`Error::Rejected`](crate::Error::Rejected) | [`RejectAsError`], the default |
//! | a boxed [`Rejected`](crate::Rejected) | [`RejectAsBoxError`] |
//! | a 503 response with `Retry-After` | `RejectAsResponse`, which `.http()` sets |
//! | the same without a body | `RejectAsEmptyResponse` |
//! | any other response | `RespondWith` |
//! | the gRPC status `UNAVAILABLE` | `RejectAsGrpcStatus`, which `.grpc()` sets |
//! | the same with another message | `RejectWithGrpcMessage` |
//! | a `tonic::Status` as the error | `RejectAsTonicStatus` |
//! | the answer of a closure | [`Fallback`] |
//! | the answer of another service | [`FallbackService`] |
//! | nothing, until the circuit admits the call | [`Backpressure`] around one of these |

mod as_box_error;
mod as_error;
mod backpressure;
mod fallback;
mod fallback_service;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "http")]
mod response;
#[cfg(feature = "http")]
mod response_future;
#[cfg(feature = "tonic")]
mod tonic;

use std::future::Future;

#[cfg(feature = "tonic")]
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
pub use self::tonic::RejectAsTonicStatus;
pub use as_box_error::RejectAsBoxError;
pub use as_error::{RejectAsError, RejectedFuture};
pub use backpressure::Backpressure;
pub use fallback::Fallback;
pub use fallback_service::{FallbackFuture, FallbackService};
#[cfg(feature = "grpc")]
#[cfg_attr(docsrs, doc(cfg(feature = "grpc")))]
pub use grpc::{RejectAsGrpcStatus, RejectWithGrpcMessage};
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use response::{RejectAsEmptyResponse, RejectAsResponse, RespondWith};
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use response_future::RejectedResponseFuture;

use crate::error::Rejected;

/// Says what becomes of a rejected call.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot reject the calls of a service with the response `{Response}` and \
               the error `{E}`",
    label = "no answer to a rejected call",
    note = "`.http()` and `RejectAsResponse` need the response `http::Response<B>` with \
            `B: From<String>`; `.grpc()`, `RejectAsGrpcStatus` and `RejectAsEmptyResponse` need \
            `B: Default`",
    note = "around a client (hyper's, reqwest's), say only what counts as a failure, such as \
            `.classify(ServerErrorsAsFailures)`; a rejected call is then an `Error::Rejected`. Or \
            make the response: `.reject_with(RespondWith(|rejected: &Rejected| ..))`",
    note = "`RejectAsBoxError` and `RejectAsTonicStatus` need an error that converts into \
            `tower_breaker::BoxError`"
)]
pub trait Reject<Request, Response, E> {
    // Sealed: other crates cannot name the type, so only `Backpressure` sets it. How callers wait
    // is part of the breaker's queue, and readiness must not depend on the type of the request.
    #[doc(hidden)]
    const WHILE_OPEN: sealed::WhileOpen = sealed::WhileOpen::Reject;

    /// The error of the whole service: that of a rejection, or the inner service's own.
    type Error: From<E>;
    /// The future of a rejected call.
    type Future: Future<Output = Result<Response, Self::Error>>;

    /// Answers a call in place of the inner service, which does not see it.
    fn reject(&self, request: Request, rejected: Rejected) -> Self::Future;
}

mod sealed {
    /// What a service does with its callers while the circuit is open.
    #[derive(Debug, Clone, Copy)]
    pub enum WhileOpen {
        /// It is ready, and rejects the next call.
        Reject,
        /// It is not ready, so the callers wait.
        Wait,
    }

    impl WhileOpen {
        #[inline]
        pub(in crate::service) const fn waits(self) -> bool {
            matches!(self, Self::Wait)
        }
    }
}
