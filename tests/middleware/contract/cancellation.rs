//! Every call ends exactly once, whatever happens to its future.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, Error, Outcome, State, Trip, Window, clock::ManualClock,
};

use super::{OPEN_TIME, Setup, call_metrics, setup, trip};

/// A half-open circuit with one slot that closes at the first success.
fn half_open() -> Setup {
    let setup = setup();
    trip(&setup.breaker);
    setup.clock.advance(OPEN_TIME);
    setup
}

fn slot_is_free(breaker: &Breaker) -> bool {
    assert_eq!(breaker.state(), State::HalfOpen);
    breaker.try_acquire().is_ok()
}

#[tokio::test]
async fn a_future_that_is_dropped_at_any_stage_releases_its_slot() {
    let Setup { mut service, mut handle, breaker, .. } = half_open();
    handle.allow(10);
    // Before the first poll.
    let call = service.ready().await.unwrap().call(1);
    assert!(!slot_is_free(&breaker));
    drop(call);
    assert!(slot_is_free(&breaker));
    // After a pending poll.
    let mut call = task::spawn(service.ready().await.unwrap().call(2));
    assert_pending!(call.poll());
    assert!(!slot_is_free(&breaker));
    drop(call);
    assert!(slot_is_free(&breaker));
}

#[tokio::test]
async fn a_completed_future_counts_once_even_when_dropped_later() {
    let Setup { mut service, mut handle, breaker, .. } = half_open();
    handle.allow(10);
    // The mock would first return the dropped calls of earlier stages.
    let mut call = task::spawn(service.ready().await.unwrap().call(1));
    handle.next_request().await.unwrap().1.send_response(5);
    assert_ready_ok!(call.poll());
    assert_eq!(breaker.state(), State::Closed);
    drop(call);
    assert_eq!((breaker.state(), breaker.stats().consecutive_failures()), (State::Closed, 0));
}

/// A service whose future holds this until it is dropped, also when it is ready.
fn holding(held: Arc<()>) -> impl Service<(), Response = (), Error = (), Future: Unpin> {
    service_fn(move |()| {
        let held = Arc::clone(&held);
        poll_fn(move |_| {
            let _ = &held;
            Poll::Ready(Ok(()))
        })
    })
}

#[tokio::test]
async fn the_inner_future_is_dropped_as_soon_as_it_is_ready() {
    let held = Arc::new(());
    let layer = CircuitBreakerLayer::builder("held").call_metrics(call_metrics()).build().unwrap();
    let mut service = layer.layer(holding(Arc::clone(&held)));
    let in_service = Arc::strong_count(&held);
    let mut call = task::spawn(service.ready().await.unwrap().call(()));
    assert_eq!(Arc::strong_count(&held), in_service + 1);
    assert_ready_ok!(call.poll());
    assert_eq!(Arc::strong_count(&held), in_service, "by the future, which is still alive");
    drop(call);
}

#[tokio::test]
async fn a_future_that_is_polled_after_completion_panics_and_counts_no_more() {
    let layer = CircuitBreakerLayer::builder("polled again")
        .call_metrics(call_metrics())
        .trip_on(Trip::failure_rate(1.0, Window::calls(10)))
        .build()
        .unwrap();
    let mut service = layer.layer(holding(Arc::new(())));
    let mut call = task::spawn(service.ready().await.unwrap().call(()));
    assert_ready_ok!(call.poll());
    let panic = catch_unwind(AssertUnwindSafe(|| drop(call.poll()))).unwrap_err();
    assert!(panic.downcast_ref::<&str>().unwrap().contains("polled after completion"));
    drop(call);
    let stats = layer.breaker().stats();
    assert_eq!((stats.window_calls(), stats.window_failures()), (1, 0));
}

#[tokio::test]
async fn a_failed_probe_reopens_the_circuit() {
    let Setup { mut service, mut handle, breaker, .. } = half_open();
    let call = service.ready().await.unwrap().call(1);
    handle.next_request().await.unwrap().1.send_error("broken");
    assert!(matches!(call.await, Err(Error::Inner(_))));
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test]
async fn a_cancelled_call_changes_nothing_while_closed() {
    let Setup { mut service, mut handle, breaker, .. } = setup();
    handle.allow(10);
    drop(service.ready().await.unwrap().call(1));
    assert_eq!((breaker.state(), breaker.stats().consecutive_failures()), (State::Closed, 0));
}

#[tokio::test]
async fn results_from_before_a_transition_change_nothing() {
    let Setup { service, mut handle, breaker, clock } = setup();
    handle.allow(10);
    let mut services = [service.clone(), service.clone(), service];
    let mut calls = Vec::new();
    for service in &mut services {
        calls.push(service.ready().await.unwrap().call(1));
    }
    let mut sends = Vec::new();
    for _ in 0..3 {
        sends.push(handle.next_request().await.unwrap().1);
    }
    let mut answers = sends.into_iter();
    let mut calls = calls.into_iter();
    answers.next().unwrap().send_error("broken");
    calls.next().unwrap().await.unwrap_err();
    assert_eq!(breaker.state(), State::Open);
    // A late success does not close.
    answers.next().unwrap().send_response(1);
    calls.next().unwrap().await.unwrap();
    assert_eq!(breaker.state(), State::Open);
    // A late failure does not reopen.
    clock.advance(OPEN_TIME);
    assert_eq!(breaker.state(), State::HalfOpen);
    answers.next().unwrap().send_error("broken");
    calls.next().unwrap().await.unwrap_err();
    assert_eq!(breaker.state(), State::HalfOpen);
}

/// Calls without a service, through the breaker's handle.
fn half_open_breaker() -> Breaker {
    let clock = ManualClock::new();
    let breaker = Breaker::builder("alone")
        .call_metrics(call_metrics())
        .trip_on(Trip::consecutive_failures(1))
        .recovery_timeout(OPEN_TIME)
        .clock(clock.clone())
        .build()
        .unwrap();
    trip(&breaker);
    clock.advance(OPEN_TIME);
    breaker
}

#[test]
fn a_panic_while_a_permit_is_held_releases_the_slot() {
    let breaker = half_open_breaker();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _permit = breaker.try_acquire().unwrap();
        panic!("while working");
    }));
    assert!(panicked.is_err());
    assert!(slot_is_free(&breaker));
}

#[tokio::test]
async fn a_call_through_the_handle_records_rejects_and_cancels() {
    let breaker = half_open_breaker();
    {
        let mut pending = pin!(breaker.call(std::future::pending::<Result<(), ()>>()));
        let waker = std::task::Waker::noop();
        assert!(pending.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
        let rejected = breaker.call(async { Ok::<_, ()>(1) }).await;
        assert!(matches!(rejected, Err(Error::Rejected(_))));
    }
    assert_eq!(breaker.call(async { Ok::<_, ()>(1) }).await, Ok(1));
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(breaker.call(async { Err::<(), _>(2) }).await, Err(Error::Inner(2)));
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn a_permit_records_each_outcome() {
    let breaker = half_open_breaker();
    breaker.try_acquire().unwrap().ignore();
    assert!(slot_is_free(&breaker));
    breaker.try_acquire().unwrap().finish(Outcome::Ignore);
    assert!(slot_is_free(&breaker));
    breaker.try_acquire().unwrap().record(Outcome::throttled(), std::time::Duration::ZERO);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn a_permit_may_outlive_its_breaker() {
    let breaker = half_open_breaker();
    let (probe, name) = (breaker.try_acquire().unwrap(), breaker.name().to_owned());
    drop(breaker);
    // The old permit changes nothing in a breaker that reuses the memory.
    let others: Vec<_> = (0..100)
        .map(|_| Breaker::builder(&name).call_metrics(call_metrics()).build().unwrap())
        .collect();
    probe.failure();
    for other in others {
        assert_eq!((other.state(), other.stats().consecutive_failures()), (State::Closed, 0));
    }
}

#[tokio::test]
async fn a_classifier_that_panics_releases_the_slot() {
    let clock = ManualClock::new();
    let layer = CircuitBreakerLayer::builder("classifier")
        .call_metrics(call_metrics())
        .trip_on(Trip::consecutive_failures(1))
        .clock(clock.clone())
        .classify(|_: &Result<(), ()>| -> Outcome { panic!("in classify") })
        .build()
        .unwrap();
    let breaker = layer.breaker().clone();
    trip(&breaker);
    clock.advance(OPEN_TIME);
    let mut service = layer.layer(service_fn(|(): ()| async { Ok::<_, ()>(()) }));
    let service = service.ready().await.unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _ = task::spawn(service.call(())).poll();
    }));
    assert!(panicked.is_err());
    assert_eq!(breaker.state(), State::Open, "the probe has failed");
    clock.advance(OPEN_TIME);
    assert!(slot_is_free(&breaker));
}
