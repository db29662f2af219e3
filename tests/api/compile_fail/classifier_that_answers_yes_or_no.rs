//! A classifier returns an outcome: `true` could mean success or failure.
//!
//! E0277: Classify<u32, ()>
//! says: expected a classifier, or a closure `|result: &Result<u32, ()>| -> Outcome`

use tower::{Layer, Service, service_fn};
use tower_breaker::{CircuitBreakerLayer, Outcome};

fn is_service<S: Service<u32>>(_: S) {}

fn main() {
    let inner = service_fn(|number: u32| async move { Ok::<u32, ()>(number) });
    let builder = CircuitBreakerLayer::builder("classifier");
    let outcome = Outcome::Success;
    #[cfg(feature = "wrong")]
    let outcome = outcome == Outcome::Success;
    let builder = builder.classify(move |_: &Result<u32, ()>| outcome);
    is_service(builder.build().unwrap().layer(inner));
}
