//! A retry needs a copy of the request.
//!
//! E0277: Cloned; Body
//! says: say how: `.clone_request_with(

use http::{Request, Response};
use tower::{Layer, Service, retry::RetryLayer, service_fn};
use tower_breaker::RetryPolicy;

struct Body;

fn is_service<S: Service<Request<Body>>>(_: S) {}

fn main() {
    let inner = service_fn(|_: Request<Body>| async {
        Ok::<_, std::io::Error>(Response::new(()))
    });
    let policy = RetryPolicy::network();
    #[cfg(not(feature = "wrong"))]
    let policy = policy.clone_request_with(|_: &Request<Body>| None);
    is_service(RetryLayer::new(policy).layer(inner));
    let _ = Body;
}
