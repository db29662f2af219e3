//! A closure as a classifier needs the type of its argument, unless it is in `classify_fn`. The
//! error names the expected type.
//!
//! E0631: Classify<u32, ()>
//! says: expected closure signature `for<'a> fn(&'a Result<u32, ()>) -> _`

use tower::{Layer, Service, service_fn};
use tower_breaker::{CircuitBreakerLayer, Outcome};

fn is_service<S: Service<u32>>(_: S) {}

fn main() {
    let inner = service_fn(|number: u32| async move { Ok::<u32, ()>(number) });
    let builder = CircuitBreakerLayer::builder("classifier");
    #[cfg(not(feature = "wrong"))]
    let builder = builder.classify(|result: &Result<u32, ()>| match result {
        Ok(_) => Outcome::Success,
        Err(()) => Outcome::failure(),
    });
    #[cfg(feature = "wrong")]
    let builder = builder.classify(|result| match result {
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::failure(),
    });
    is_service(builder.build().unwrap().layer(inner));
}
