//! What a layer and a retry policy ask of requests and responses.
//!
//! E0277: AppliesTo; NotClone: Clone; RetryResponse
//! says: cannot tell whether a `u32` counts
//! says: `.grpc()` needs requests of the type `http::Request<B>`
//! says: the response `u32` cannot be searched for a rejection
//! says: `RetryPolicy::http(..)` needs an `http::Response`

use tower::{Layer, Service, retry::RetryLayer, service_fn};
use tower_breaker::{
    CircuitBreakerLayer, Outcome, RetryPolicy,
    classify::{Classify, ErrorsAsFailures},
};

#[cfg_attr(not(feature = "wrong"), derive(Clone))]
struct NotClone;

impl<T, E> Classify<T, E> for NotClone {
    fn classify(&self, _: &Result<T, E>) -> Outcome {
        Outcome::Success
    }
}

fn is_service<S: Service<u32>>(_: S) {}

fn main() {
    let inner = || service_fn(|number: u32| async move { Ok::<u32, std::io::Error>(number) });
    let builder = CircuitBreakerLayer::builder("requests");
    #[cfg(feature = "wrong")]
    let builder = builder.grpc();
    is_service(builder.build().unwrap().layer(inner()));

    let builder = CircuitBreakerLayer::builder("classifier").classify(NotClone);
    is_service(Layer::layer(&builder.build().unwrap(), inner()));

    #[cfg(not(feature = "wrong"))]
    let policy = RetryPolicy::new(ErrorsAsFailures);
    #[cfg(feature = "wrong")]
    let policy = RetryPolicy::http(ErrorsAsFailures);
    is_service(RetryLayer::new(policy).layer(inner()));
}
