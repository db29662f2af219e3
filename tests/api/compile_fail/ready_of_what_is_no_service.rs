//! A method of `ServiceExt` does not know the request yet, so its error cannot explain what is
//! missing. `check_service` can: see `service_that_is_checked`.
//!
//! E0599: ready; CircuitBreaker; Service<_>

use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::CircuitBreakerLayer;

async fn call() {
    let builder = CircuitBreakerLayer::builder("http");
    #[cfg(feature = "wrong")]
    let builder = builder.http();
    let inner = service_fn(|number: u32| async move { Ok::<u32, ()>(number) });
    let mut service = builder.build().unwrap().layer(inner);
    let _ = service.ready().await.unwrap().call(7).await;
}

fn main() {
    drop(call());
}
