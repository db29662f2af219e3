//! Waiting in a tokio runtime without timers.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use tower::{Layer, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, State, Trip, clock::ManualClock, config::RampUp,
};

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

#[test]
fn a_caller_that_waits_in_paused_time_continues_in_a_runtime_without_timers() {
    const RAMP: Duration = Duration::from_secs(10);
    let paused = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let without = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let clock = ManualClock::new();
    let breaker = Breaker::builder("ramps up")
        .trip_on(Trip::consecutive_failures(1))
        .recovery_timeout(RAMP)
        .ramp_up(RampUp::new(0.1, RAMP))
        .clock(clock.clone())
        .build()
        .unwrap();
    breaker.try_acquire().unwrap().failure();
    clock.advance(RAMP);
    breaker.try_acquire().unwrap().success();
    // Until one is not in the admitted share.
    assert!((0..100).any(|_| breaker.try_acquire().is_err()));
    let mut acquire = pin!(async {
        while breaker.state() == State::Closed {
            breaker.acquire().await.ignore();
        }
    });
    let is_pending = poll_fn(|cx| Poll::Ready(acquire.as_mut().poll(cx).is_pending()));
    assert!(paused.block_on(is_pending));
    without.block_on(async {
        let is_pending = poll_fn(|cx| Poll::Ready(acquire.as_mut().poll(cx).is_pending()));
        assert!(is_pending.await);
        breaker.disable();
        acquire.await;
    });
}
