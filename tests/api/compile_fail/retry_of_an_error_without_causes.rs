//! A retry policy searches the sources of an error for rejections and network errors.
//!
//! E0277: AsCause; Odd
//! says: implement `std::error::Error` for the error of the inner service

use http::{Request, Response};
use tower::{Layer, Service, retry::RetryLayer, service_fn};
use tower_breaker::RetryPolicy;

#[derive(Debug)]
struct Odd;

#[cfg(not(feature = "wrong"))]
impl std::error::Error for Odd {}

impl std::fmt::Display for Odd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("odd")
    }
}

fn is_service<S: Service<Request<()>>>(_: S) {}

fn main() {
    let inner = service_fn(|_: Request<()>| async {
        if false { Err(Odd) } else { Ok(Response::new(())) }
    });
    is_service(RetryLayer::new(RetryPolicy::network()).layer(inner));
}
