//! The tower face of a breaker.

mod future;
mod layer;
mod rejection;
#[expect(clippy::module_inception, reason = "one idea a file, as in tower's own folders")]
mod service;

pub use future::ResponseFuture;
pub use layer::{CircuitBreakerLayer, Face};
#[cfg(feature = "http")]
pub use rejection::RejectAsResponse;
pub use rejection::{Reject, RejectAsError};
pub use service::CircuitBreaker;
