//! Waiting in a tokio runtime without timers.

use std::time::Duration;

use tower::{Layer, ServiceExt, service_fn};
use tower_breaker::{Breaker, CircuitBreakerLayer, State, Trip};

fn open_for_a_moment() -> Breaker {
    let breaker = Breaker::builder("no timers")
        .trip_on(Trip::consecutive_failures(1))
        .recovery_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    breaker.try_acquire().unwrap().failure();
    breaker
}

#[test]
fn callers_are_woken_at_the_end_of_the_open_time() {
    let current = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let several = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    for runtime in [current, several] {
        runtime.block_on(async {
            let breaker = open_for_a_moment();
            breaker.acquire().await.success();
            assert_eq!(breaker.state(), State::Closed);

            let breaker = open_for_a_moment();
            let layer = CircuitBreakerLayer::new(breaker.clone()).backpressure();
            let answering = service_fn(|(): ()| std::future::ready(Ok::<_, ()>(())));
            layer.layer(answering).oneshot(()).await.unwrap();
            assert_eq!(breaker.state(), State::Closed);
        });
    }
}
