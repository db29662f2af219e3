//! What counts as a failure: classifiers turn the result of a call into an
//! [`Outcome`](crate::Outcome).
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
#[cfg(feature = "http")]
mod by_status;
mod classifier;
mod compose;
#[cfg(feature = "http")]
pub(crate) mod defaults;
mod error;
mod errors_as_failures;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "http")]
mod grpc_notice;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http")]
pub(crate) mod kind;
#[cfg(feature = "reqwest")]
mod reqwest;
#[cfg(feature = "http")]
mod retry_after;
#[cfg(feature = "http")]
mod status;
#[cfg(feature = "tower-http")]
mod tower_http;
mod with_request;

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
pub use self::{
    classifier::Classify,
    compose::{Map, Or, map, or},
    error::is_request_error,
    errors_as_failures::ErrorsAsFailures,
    with_request::{ClassifyWith, CloneClassifier, MakeClassifier},
};
