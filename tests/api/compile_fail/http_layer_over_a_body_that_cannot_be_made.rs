//! The response to a rejected call has a body with the reason, so the body must be constructible.
//!
//! E0277: RejectAsResponse; From<String>
//! says: `RejectAsResponse` cannot reject the calls of a service with the response
//! says: around a client (hyper's, reqwest's), say only what counts as a failure

use tower::{Layer, Service, service_fn};
use tower_breaker::{CircuitBreakerLayer, reject::RejectAsEmptyResponse};

struct Body;

impl Default for Body {
    fn default() -> Self {
        Self
    }
}

fn is_service<S: Service<()>>(_: S) {}

fn main() {
    let inner = service_fn(|()| async { Ok::<_, ()>(http::Response::new(Body)) });
    let builder = CircuitBreakerLayer::builder("body").http();
    #[cfg(not(feature = "wrong"))]
    let builder = builder.reject_with(RejectAsEmptyResponse);
    is_service(builder.build().unwrap().layer(inner));
}
