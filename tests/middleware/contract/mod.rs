//! The contract of well-behaved tower middleware, poll by poll.

mod cancellation;
mod classifier_panics;
mod concurrency;
mod nesting;
mod nesting_by_hand;
mod nesting_deeper;
mod panics;
mod readiness;
mod services;

use std::time::Duration;

use tower::Layer;
use tower_breaker::{
    Breaker, CircuitBreaker, CircuitBreakerLayer, Trip, classify::ErrorsAsFailures,
    clock::ManualClock, config::CallMetrics,
};
use tower_test::mock;

type Mock = mock::Mock<u32, u32>;
type Handle = mock::Handle<u32, u32>;

/// A breaker that opens at the first failure around a mock service, and its clock.
struct Setup {
    service: CircuitBreaker<Mock, ErrorsAsFailures>,
    handle: Handle,
    breaker: Breaker,
    clock: ManualClock,
}

/// What is counted of the calls in this copy of the module.
fn call_metrics() -> CallMetrics {
    let is_unmetered = module_path!().contains("unmetered");
    if is_unmetered { CallMetrics::Off } else { CallMetrics::Counts }
}

const OPEN_TIME: Duration = Duration::from_secs(60);

fn setup() -> Setup {
    let clock = ManualClock::new();
    let layer = CircuitBreakerLayer::builder("contract")
        .call_metrics(call_metrics())
        .trip_on(Trip::consecutive_failures(1))
        .recovery_timeout(OPEN_TIME)
        .clock(clock.clone())
        .build()
        .unwrap();
    let (mock, handle) = mock::pair();
    let breaker = layer.breaker().clone();
    Setup { service: layer.layer(mock), handle, breaker, clock }
}

fn trip(breaker: &Breaker) {
    breaker.try_acquire().unwrap().failure();
}
