//! The tower middleware: the service, its layer, and the types that they are made of.

#[cfg(feature = "http")]
pub mod body;
pub mod future;
mod layer;
pub mod record_when;
pub mod reject;
#[cfg(feature = "reqwest-middleware")]
pub mod reqwest_middleware;
#[expect(clippy::module_inception, reason = "one idea a file, as in tower's own folders")]
mod service;

pub use layer::{CircuitBreakerLayer, Face};
pub use service::CircuitBreaker;
