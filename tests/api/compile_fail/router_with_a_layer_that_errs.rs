//! The services of an axum router are infallible. A rejection is an error unless `.http()` or a
//! custom `Reject` turns it into a response.
//!
//! E0277: Infallible; Error

use axum::Router;
use tower_breaker::CircuitBreakerLayer;

fn main() {
    let builder = CircuitBreakerLayer::builder("router");
    #[cfg(not(feature = "wrong"))]
    let builder = builder.http();
    let _: Router = Router::new().layer(builder.build().unwrap());
}
