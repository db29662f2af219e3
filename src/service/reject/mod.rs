//! What becomes of a call that the breaker does not let through.

mod backpressure;
mod fallback;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "http")]
mod response;
#[cfg(feature = "tonic")]
mod tonic;

use std::future::{Future, Ready, ready};

#[cfg(feature = "tonic")]
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
pub use self::tonic::RejectAsTonicStatus;
pub use backpressure::Backpressure;
pub use fallback::{Fallback, FallbackFuture, FallbackService};
#[cfg(feature = "grpc")]
#[cfg_attr(docsrs, doc(cfg(feature = "grpc")))]
pub use grpc::{RejectAsGrpcStatus, RejectWithGrpcMessage};
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use response::{RejectAsEmptyResponse, RejectAsResponse, RespondWith};

use crate::error::{Error, Rejected};

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
    /// The future that a rejected call returns.
    type Future: Future<Output = Result<Response, Self::Error>>;

    /// Answers a call in place of the inner service, which does not see it.
    fn reject(&self, request: Request, rejected: Rejected) -> Self::Future;
}

mod sealed {
    /// What a service does with callers while its circuit is open.
    #[derive(Debug, Clone, Copy)]
    pub enum WhileOpen {
        /// It is ready, and rejects the next call.
        Reject,
        /// It is not ready, and the callers wait.
        Wait,
    }

    impl WhileOpen {
        #[inline]
        pub(in crate::service) const fn waits(self) -> bool {
            matches!(self, Self::Wait)
        }
    }
}

/// A rejection is an [`Error::Rejected`], and the inner service's errors are [`Error::Inner`]:
/// the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct RejectAsError;

impl<Request, Response, E> Reject<Request, Response, E> for RejectAsError {
    type Error = Error<E>;
    type Future = Ready<Result<Response, Error<E>>>;

    #[inline]
    fn reject(&self, _: Request, rejected: Rejected) -> Self::Future {
        ready(Err(Error::Rejected(rejected)))
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A rejection is a boxed [`Rejected`], and the inner service's errors are boxed where they are
/// not yet: for stacks whose error is tower's `BoxError`, as it is around a `Timeout`, and for
/// reqwest's connector (`ClientBuilder::connector_layer`), where a breaker counts connections and
/// sees no request.
///
/// [`Rejected::find`] tells the one from the other.
#[derive(Debug, Clone, Copy, Default)]
pub struct RejectAsBoxError;

#[diagnostic::do_not_recommend]
impl<Request, Response, E> Reject<Request, Response, E> for RejectAsBoxError
where
    BoxError: From<E>,
{
    type Error = BoxError;
    type Future = Ready<Result<Response, BoxError>>;

    fn reject(&self, _: Request, rejected: Rejected) -> Self::Future {
        ready(Err(rejected.into()))
    }
}
