use std::{
    future::{Ready, ready},
    sync::Arc,
};

use tonic::{Code, Status, metadata::MetadataMap};

use super::{
    Reject,
    grpc::{PUSHBACK, pushback},
};
use crate::{
    classify::rejection_token,
    error::{BoxError, Rejected},
};

/// A rejected call is an error: a [`tonic::Status`] with the code `UNAVAILABLE` and the
/// [`Rejected`] as its source. For tonic's clients:
///
/// ```no_run
/// use tonic::{Code, Status};
/// use tower_breaker::{CircuitBreakerLayer, Rejected, reject::RejectAsTonicStatus};
///
/// # fn example(call: fn() -> Result<(), Status>) -> Result<(), tower_breaker::ConfigError> {
/// let layer = CircuitBreakerLayer::builder("stock")
///     .grpc()
///     .reject_with(RejectAsTonicStatus)
///     .build()?;
/// // let client = StockClient::new(ServiceBuilder::new().layer(layer).service(channel));
/// if let Err(status) = call()
///     && let Some(rejected) = Rejected::find(&status)
/// {
///     assert_eq!(status.code(), Code::Unavailable);
///     println!("not sent, retry after {:?}", rejected.retry_after());
/// }
/// # Ok(())
/// # }
/// ```
///
/// The message is `rejected by circuit breaker "stock"`; the source says in which state it is.
/// The metadata contains `grpc-retry-pushback-ms` and `tower-breaker-rejection`, as with
/// [`RejectAsGrpcStatus`](super::RejectAsGrpcStatus).
///
/// The error type of the service becomes a boxed error. An error of the inner service is boxed as
/// it is, so tonic turns it into the same [`Status`] as without a breaker.
#[derive(Debug, Clone, Copy, Default)]
pub struct RejectAsTonicStatus;

#[diagnostic::do_not_recommend]
impl<Request, Response, E> Reject<Request, Response, E> for RejectAsTonicStatus
where
    BoxError: From<E>,
{
    type Error = BoxError;
    type Future = Ready<Result<Response, BoxError>>;

    fn reject(&self, _: Request, rejected: Rejected) -> Self::Future {
        ready(Err(Box::new(Status::from(rejected))))
    }
}

/// For code that gets the rejection as an error: the status that [`RejectAsTonicStatus`] makes.
impl From<Rejected> for Status {
    fn from(rejected: Rejected) -> Self {
        let mut metadata = MetadataMap::new();
        if let Some(milliseconds) = pushback(&rejected) {
            metadata.insert(PUSHBACK, milliseconds.into());
        }
        if let Ok(token) = rejection_token::of_this_process().parse() {
            metadata.insert(rejection_token::HEADER, token);
        }
        // The source says the rest: a report of the error prints both.
        let message = format!("rejected by circuit breaker {:?}", rejected.name());
        let mut status = Self::with_metadata(Code::Unavailable, message, metadata);
        status.set_source(Arc::new(rejected));
        status
    }
}
