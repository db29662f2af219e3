//! `RetryPolicy::network()` is for HTTP. Other protocols need a classifier.
//!
//! E0277: Network; u32
//! says: `RetryPolicy::network()` needs an `http::Request` and an `http::Response`
//! says: use `RetryPolicy::new(..)` with a classifier or a closure

use std::io::Error;

use tower::{Layer, Service, retry::RetryLayer, service_fn};
use tower_breaker::RetryPolicy;
#[cfg(not(feature = "wrong"))]
use tower_breaker::classify::ErrorsAsFailures;

fn is_service<S: Service<u32>>(_: S) {}

fn main() {
    let inner = service_fn(|number: u32| async move { Ok::<u32, Error>(number) });
    #[cfg(not(feature = "wrong"))]
    let policy = RetryPolicy::new(ErrorsAsFailures);
    #[cfg(feature = "wrong")]
    let policy = RetryPolicy::network();
    is_service(RetryLayer::new(policy).layer(inner));
}
