//! What counts as a failure: classifiers turn the result of a call into an [`Outcome`].
//!
//! [`ErrorsAsFailures`] is the default. A closure that takes the whole result is a classifier too:
//!
//! ```
//! use tower_breaker::{CircuitBreakerLayer, Outcome};
//!
//! let layer = CircuitBreakerLayer::builder("quotes")
//!     .classify(|result: &Result<u32, std::io::Error>| match result {
//!         Ok(0) => Outcome::failure(),
//!         Ok(_) => Outcome::Success,
//!         Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => Outcome::Ignore,
//!         Err(_) => Outcome::failure(),
//!     })
//!     .build()?;
//! # Ok::<(), tower_breaker::ConfigError>(())
//! ```
//!
//! HTTP has `ServerErrorsAsFailures` and `StatusClassifier`, gRPC has `GrpcClassifier`. [`map`] and
//! [`or`] combine classifiers.

#[cfg(feature = "http")]
mod body;
mod compose;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http")]
mod kind;
#[cfg(feature = "reqwest")]
mod reqwest;
#[cfg(feature = "http")]
mod retry_after;
#[cfg(feature = "http")]
mod status;
#[cfg(feature = "tower-http")]
mod tower_http;

pub use self::compose::{Map, Or, map, or};
#[cfg(feature = "grpc")]
#[cfg_attr(docsrs, doc(cfg(feature = "grpc")))]
pub use self::grpc::{GrpcClassifier, GrpcCode, GrpcCodes, GrpcEos};
#[cfg(feature = "tower-http")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower-http")))]
pub use self::tower_http::{TowerHttp, TowerHttpEos};
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use self::{
    body::{BodyFailure, ClassifiedResponse, ClassifyBody, ClassifyEos, SuccessAtEos},
    compose::{MapEos, OrEos},
    http::ServerErrorsAsFailures,
    retry_after::retry_after,
    status::{StatusClassifier, Statuses},
};

use crate::outcome::Outcome;

/// Classifies the result of a call.
///
/// A layer clones its classifier for each call, so it should be cheap to clone: to increment a
/// shared reference count would cost more than the rest of a healthy call.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot classify a `Result<{T}, {E}>`",
    label = "expected a classifier, or a closure `|result: &Result<{T}, {E}>| -> Outcome`",
    note = "a closure has to write the type of its argument, because nothing else tells the \
            compiler: `.classify(|result: &Result<{T}, {E}>| ..)`",
    note = "`.http()`, `ServerErrorsAsFailures` and `StatusClassifier` classify an \
            `http::Response`, and with the feature `reqwest` a `reqwest::Response`"
)]
pub trait Classify<T, E> {
    /// Returns the outcome of the call.
    fn classify(&self, result: &Result<T, E>) -> Outcome;
}

#[diagnostic::do_not_recommend]
impl<F, T, E> Classify<T, E> for F
where
    F: Fn(&Result<T, E>) -> Outcome,
{
    #[inline]
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        self(result)
    }
}

/// Every `Err` is a failure, and every `Ok` is a success: the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct ErrorsAsFailures;

impl<T, E> Classify<T, E> for ErrorsAsFailures {
    #[inline]
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        match result {
            Ok(_) => Outcome::Success,
            Err(_) => Outcome::failure(),
        }
    }
}
