//! A call that panics is exactly one failure; a call that an unrelated panic drops is cancelled.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use tokio_test::{assert_pending, task};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{Breaker, CircuitBreakerLayer, State, Trip, Window, clock::ManualClock};

use super::{OPEN_TIME, call_metrics, trip};

type Work = Pin<Box<dyn Future<Output = Result<(), ()>>>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Panics {
    InCall,
    InPoll,
    Never,
}

/// Panics without a message on standard error.
fn panic_quietly() -> ! {
    resume_unwind(Box::new("a bug"))
}

fn inner(panics: Panics) -> Work {
    match panics {
        Panics::InCall => panic_quietly(),
        Panics::InPoll => Box::pin(poll_fn(|_| panic_quietly())),
        Panics::Never => Box::pin(std::future::pending()),
    }
}

/// Never opens, and counts every call in a count window and in a time window.
fn watching() -> (CircuitBreakerLayer, ManualClock) {
    let (calls, time) = (Window::calls(1000), Window::time(Duration::from_secs(60)));
    let clock = ManualClock::new();
    let layer = CircuitBreakerLayer::builder("panics")
        .call_metrics(call_metrics())
        .trip_on(Trip::failure_rate(1.0, calls).minimum_calls(1000))
        .trip_on(Trip::slow_call_rate(1.0, OPEN_TIME, time).minimum_calls(1000))
        .clock(clock.clone())
        .build()
        .unwrap();
    (layer, clock)
}

fn counted(breaker: &Breaker) -> (u64, u64) {
    (breaker.stats().window_calls(), breaker.stats().window_failures())
}

/// Makes a call and polls it once. Returns whether that panicked.
async fn panics<S: Service<Panics, Error: std::fmt::Debug>>(service: &mut S, how: Panics) -> bool {
    let service = service.ready().await.unwrap();
    let work = AssertUnwindSafe(|| {
        let mut call = task::spawn(service.call(how));
        let _ = call.poll();
    });
    catch_unwind(work).is_err()
}

#[tokio::test]
async fn a_panic_in_call_or_in_poll_is_one_failure_and_propagates() {
    for how in [Panics::InCall, Panics::InPoll] {
        let (layer, _) = watching();
        let mut service = layer.layer(service_fn(inner));
        for failures in 1..4 {
            assert!(panics(&mut service, how).await);
            assert_eq!(counted(layer.breaker()), (failures, failures), "{how:?}");
        }
    }
}

#[tokio::test]
async fn panics_open_the_circuit_and_a_probe_that_panics_opens_it_again() {
    for how in [Panics::InCall, Panics::InPoll] {
        let clock = ManualClock::new();
        let layer = CircuitBreakerLayer::builder("panics")
            .call_metrics(call_metrics())
            .trip_on(Trip::consecutive_failures(3))
            .recovery_timeout(OPEN_TIME)
            .clock(clock.clone())
            .build()
            .unwrap();
        let mut service = layer.layer(service_fn(inner));
        for _ in 0..3 {
            assert_eq!(layer.breaker().state(), State::Closed);
            assert!(panics(&mut service, how).await);
        }
        assert_eq!(layer.breaker().state(), State::Open);
        clock.advance(OPEN_TIME);
        assert_eq!(layer.breaker().state(), State::HalfOpen);
        assert!(panics(&mut service, how).await);
        assert_eq!(layer.breaker().state(), State::Open);
    }
}

/// The future outlives the panic, and is dropped later, after the unwinding.
#[tokio::test]
async fn a_future_that_has_panicked_counts_once_even_if_it_is_dropped_late() {
    let (layer, clock) = watching();
    let mut service = layer.layer(service_fn(inner));
    let mut call = task::spawn(service.ready().await.unwrap().call(Panics::InPoll));
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _ = call.poll();
    }));
    caught.unwrap_err();
    assert_eq!(counted(layer.breaker()), (1, 1));
    clock.advance(2 * OPEN_TIME);
    drop(call);
    assert_eq!(counted(layer.breaker()), (1, 1));
    assert_eq!(layer.breaker().stats().window_slow_calls(), 0);
}

#[tokio::test]
async fn calls_that_an_unrelated_panic_drops_are_cancelled() {
    let (layer, clock) = watching();
    layer.breaker().try_acquire().unwrap().failure();
    let mut calls = Vec::new();
    for _ in 0..100 {
        let mut service = layer.layer(service_fn(inner));
        let mut call = task::spawn(service.ready().await.unwrap().call(Panics::Never));
        assert_pending!(call.poll());
        calls.push(call);
    }
    // Long enough to be slow, if they were abandoned one by one.
    clock.advance(2 * OPEN_TIME);
    let before = layer.breaker().snapshot();
    let caught = catch_unwind(AssertUnwindSafe(move || {
        let _calls = calls;
        panic_quietly();
    }));
    caught.unwrap_err();
    let mut after = layer.breaker().snapshot();
    after.saved_at = before.saved_at;
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_task_that_panics_is_a_failure() {
    let clock = ManualClock::new();
    let layer = CircuitBreakerLayer::builder("panics")
        .call_metrics(call_metrics())
        .trip_on(Trip::consecutive_failures(1))
        .clock(clock.clone())
        .build()
        .unwrap();
    let service = layer.layer(service_fn(|(): ()| async {
        tokio::task::yield_now().await;
        if true {
            panic_quietly();
        }
        Ok::<_, ()>(())
    }));
    assert!(tokio::spawn(service.oneshot(())).await.unwrap_err().is_panic());
    assert_eq!(layer.breaker().state(), State::Open);
}

#[tokio::test]
async fn a_panic_in_poll_ready_is_not_a_call() {
    struct Unready;
    impl Service<()> for Unready {
        type Response = ();
        type Error = ();
        type Future = std::future::Ready<Result<(), ()>>;

        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), ()>> {
            panic_quietly();
        }

        fn call(&mut self, (): ()) -> Self::Future {
            unreachable!("it is never ready")
        }
    }
    let (layer, _) = watching();
    trip(layer.breaker());
    let mut service = layer.layer(Unready);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _ = task::spawn(()).enter(|cx, _| service.poll_ready(cx));
    }));
    caught.unwrap_err();
    assert_eq!(counted(layer.breaker()), (1, 1));
}
