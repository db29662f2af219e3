//! The services of an axum router cannot fail, and a rejection is an error unless `.http()` or a
//! face of one's own makes it a response.
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
