//! Watching for the end of the body requires an `http::Response`.
//!
//! E0277: OnBodyEnd; u32
//! says: `.on_body_end(..)` and `.grpc()` need the response `http::Response<B>`

use tower::{Layer, Service, service_fn};
use tower_breaker::{CircuitBreakerLayer, OnBodyEnd};

fn is_service<S: Service<u32>>(_: S) {}

fn main() {
    let inner = service_fn(|number: u32| async move { Ok::<u32, ()>(number) });
    let builder = CircuitBreakerLayer::builder("body");
    #[cfg(feature = "wrong")]
    let builder = builder.on_body_end(OnBodyEnd::new());
    let _ = OnBodyEnd::new();
    is_service(builder.build().unwrap().layer(inner));
}
