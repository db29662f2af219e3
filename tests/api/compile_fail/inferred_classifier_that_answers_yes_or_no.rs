//! The argument of a closure in `classify_fn` needs no type. An error is in the closure itself.
//!
//! E0308: expected `Outcome`, found `bool`

use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{CircuitBreakerLayer, Outcome, classify::classify_fn};

async fn call() {
    let classifier = classify_fn(|result| match result {
        Ok(_) => Outcome::Success,
        #[cfg(not(feature = "wrong"))]
        Err(_) => Outcome::failure(),
        #[cfg(feature = "wrong")]
        Err(_) => false,
    });
    let layer = CircuitBreakerLayer::builder("classifier").classify(classifier).build().unwrap();
    let mut service = layer.layer(service_fn(|n: u32| async move { Ok::<u32, ()>(n) }));
    let _ = service.ready().await.unwrap().call(7).await;
}

fn main() {
    drop(call());
}
