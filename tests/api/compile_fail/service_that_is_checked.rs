//! `check_service` explains why a service does not fit its layer.
//!
//! E0277: ServerErrorsAsFailures; RejectAsResponse
//! says: `ServerErrorsAsFailures` cannot classify a `Result<u32, ()>`
//! says: `RejectAsResponse` cannot reject the calls of a service with the response `u32`
//! says: around a client (hyper's, reqwest's), say only what counts as a failure

use tower::{Layer, service_fn};
use tower_breaker::CircuitBreakerLayer;

fn main() {
    let builder = CircuitBreakerLayer::builder("http");
    #[cfg(feature = "wrong")]
    let builder = builder.http();
    let inner = service_fn(|number: u32| async move { Ok::<u32, ()>(number) });
    drop(builder.build().unwrap().layer(inner).check_service::<u32>());
}
