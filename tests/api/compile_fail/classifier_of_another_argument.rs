//! A classifier takes a reference to the whole result.
//!
//! E0631: Result<u32, ()>

use tower::{Layer, Service, service_fn};
use tower_breaker::{CircuitBreakerLayer, Outcome};

fn is_service<S: Service<u32>>(_: S) {}

fn main() {
    let inner = service_fn(|number: u32| async move { Ok::<u32, ()>(number) });
    let builder = CircuitBreakerLayer::builder("classifier");
    #[cfg(not(feature = "wrong"))]
    let builder = builder.classify(|_: &Result<u32, ()>| Outcome::Success);
    #[cfg(feature = "wrong")]
    let builder = builder.classify(|_: u32| Outcome::Success);
    is_service(builder.build().unwrap().layer(inner));
}
