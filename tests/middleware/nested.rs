//! Calls by hand within a call of the same breaker.

use std::future::ready;

use tower::{Layer, ServiceExt, service_fn};
use tower_breaker::CircuitBreakerLayer;

/// Counts a failure by hand before the future of the call is there, and fails.
async fn fail_within_call<Request>(request: Request) {
    let layer = CircuitBreakerLayer::builder("nested").build().unwrap();
    let breaker = layer.breaker();
    let service = layer.layer(service_fn(|_: Request| {
        breaker.try_acquire().unwrap().failure();
        ready(Err::<(), _>("failed"))
    }));
    service.oneshot(request).await.unwrap_err();
    let size = size_of::<Request>();
    assert_eq!(breaker.stats().consecutive_failures(), 1, "a request of {size} bytes");
}

#[tokio::test]
async fn what_the_inner_service_does_before_its_future_is_part_of_the_call() {
    fail_within_call(0_u8).await;
    fail_within_call([0_u8; 48]).await;
    // Started in another way.
    fail_within_call([0_u8; 240]).await;
}
