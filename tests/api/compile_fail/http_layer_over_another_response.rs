//! `.http()` classifies an `http::Response`, and rejects with one.
//!
//! E0277: ServerErrorsAsFailures; Service
//! says: `ServerErrorsAsFailures` cannot classify a `Result<u32, ()>`
//! says: `RejectAsResponse` cannot reject the calls of a service with the response `u32`

use tower::{Layer, Service, service_fn};
use tower_breaker::CircuitBreakerLayer;

fn is_service<S: Service<()>>(_: S) {}

fn main() {
    let layer = CircuitBreakerLayer::builder("http").http().build().unwrap();
    let response = service_fn(|()| async { Ok::<_, ()>(http::Response::new(String::new())) });
    is_service(layer.layer(response));
    #[cfg(feature = "wrong")]
    {
        let number = service_fn(|()| async { Ok::<u32, ()>(1) });
        is_service(layer.layer(number));
    }
}
