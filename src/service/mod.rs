//! The tower face of a breaker.

#[cfg(feature = "http")]
mod body;
mod future;
mod layer;
#[cfg(feature = "reqwest-middleware")]
mod middleware;
mod rejection;
#[expect(clippy::module_inception, reason = "one idea a file, as in tower's own folders")]
mod service;
mod settle;

#[cfg(feature = "http")]
pub use body::{OnBodyEnd, ResponseBody, SlowUntil};
pub use future::ResponseFuture;
pub use layer::{CircuitBreakerLayer, Face};
#[cfg(feature = "reqwest-middleware")]
pub use middleware::BreakerMiddleware;
#[cfg(feature = "tonic")]
pub use rejection::RejectAsTonicStatus;
pub use rejection::{
    Backpressure, Fallback, FallbackFuture, FallbackService, Reject, RejectAsBoxError,
    RejectAsError,
};
#[cfg(feature = "http")]
pub use rejection::{RejectAsEmptyResponse, RejectAsResponse, RespondWith};
#[cfg(feature = "grpc")]
pub use rejection::{RejectAsGrpcStatus, RejectWithGrpcMessage};
pub use service::CircuitBreaker;
pub use settle::{OnResponse, Settle};
