//! The tower middleware: the service, its layer, and the types that they are made of.

mod aliases;
#[cfg(feature = "http")]
pub mod body;
mod constructors;
mod debug;
pub mod future;
mod gate;
mod inner_call;
#[cfg(feature = "keyed")]
pub mod keyed;
mod layer;
#[cfg(feature = "load")]
pub mod load;
pub mod record_when;
pub mod reject;
#[cfg(feature = "reqwest-middleware")]
pub mod reqwest_middleware;
#[expect(clippy::module_inception, reason = "one idea a file, as in tower's own folders")]
mod service;
#[cfg(test)]
mod tests;
mod wake_on_open;

#[cfg(feature = "grpc")]
pub use aliases::GrpcCircuitBreaker;
#[cfg(feature = "http")]
pub use aliases::HttpCircuitBreaker;
pub use layer::{CircuitBreakerLayer, CircuitBreakerLayerBuilder};
pub use service::CircuitBreaker;
