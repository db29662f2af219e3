use std::time::Duration;

use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_breaker::{CircuitBreakerLayer, Error, State, Trip};
use tower_test::mock;

use super::{Mock, OPEN_TIME, Setup, call_metrics, setup, trip};

type Service_ = tower_breaker::CircuitBreaker<Mock>;

/// Polls for readiness in a task of its own.
fn ready(service: &mut Service_) -> std::task::Poll<Result<(), Error<tower::BoxError>>> {
    task::spawn(()).enter(|cx, _| service.poll_ready(cx))
}

fn rejection(result: Result<u32, Error<tower::BoxError>>) -> State {
    match result {
        Err(Error::Rejected(rejected)) => rejected.state(),
        other => panic!("not a rejection: {other:?}"),
    }
}

fn retry_after(result: Result<u32, Error<tower::BoxError>>) -> Option<Duration> {
    result.unwrap_err().rejected().expect("a rejection").retry_after()
}

#[tokio::test]
async fn back_pressure_is_passed_on_and_its_end_wakes_the_caller() {
    let Setup { mut service, mut handle, .. } = setup();
    handle.allow(0);
    let mut waiter = task::spawn(());
    assert_pending!(waiter.enter(|cx, _| service.poll_ready(cx)));
    handle.allow(1);
    assert!(waiter.is_woken());
    assert_ready_ok!(waiter.enter(|cx, _| service.poll_ready(cx)));
    let answer = tokio::spawn(service.call(1));
    let (request, send) = handle.next_request().await.unwrap();
    assert_eq!(request, 1);
    send.send_response(2);
    assert_eq!(answer.await.unwrap().unwrap(), 2);
}

#[tokio::test]
async fn a_readiness_error_is_passed_on_and_not_recorded() {
    let Setup { mut service, mut handle, breaker, .. } = setup();
    handle.send_error("broken");
    let error = assert_ready_err!(ready(&mut service));
    assert_eq!(error.to_string(), "broken");
    assert!(matches!(error, Error::Inner(_)));
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(breaker.stats().consecutive_failures(), 0);
}

#[tokio::test]
async fn while_open_the_inner_service_is_not_polled() {
    let Setup { mut service, handle, breaker, .. } = setup();
    trip(&breaker);
    // A mock whose handle is dropped returns an error from every poll.
    drop(handle);
    assert_ready_ok!(ready(&mut service));
    assert_eq!(rejection(service.call(1).await), State::Open);
}

#[tokio::test]
async fn readiness_granted_while_rejecting_ends_in_a_rejection() {
    let Setup { mut service, mut handle, breaker, clock } = setup();
    handle.allow(10);
    trip(&breaker);
    assert_ready_ok!(ready(&mut service));
    breaker.reset();
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(rejection(service.call(1).await), State::Open);

    // The same holds if the open time has passed meanwhile.
    trip(&breaker);
    assert_ready_ok!(ready(&mut service));
    clock.advance(OPEN_TIME);
    assert_eq!(rejection(service.call(2).await), State::Open);
    assert_eq!(breaker.state(), State::HalfOpen);
    assert_pending!(task::spawn(handle.next_request()).poll());
}

#[tokio::test]
async fn a_service_that_was_ready_for_long_says_what_is_left_of_the_open_time() {
    let Setup { service, breaker, clock, .. } = setup();
    trip(&breaker);
    let parked = || {
        let mut service = service.clone();
        assert_ready_ok!(ready(&mut service));
        service
    };
    let [mut first, mut second, mut third, mut last] = [(); 4].map(|()| parked());
    clock.advance(OPEN_TIME * 5 / 6);
    assert_eq!(retry_after(first.call(1).await), Some(OPEN_TIME / 6));
    clock.advance(OPEN_TIME / 6);
    assert_eq!(retry_after(second.call(2).await), None, "a probe would be admitted");
    breaker.force_open_for(3 * OPEN_TIME);
    assert_eq!(retry_after(third.call(3).await), Some(3 * OPEN_TIME));
    breaker.reset();
    assert_eq!(retry_after(last.call(4).await), None);
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test]
async fn readiness_of_the_inner_service_ends_in_a_rejection_if_the_circuit_opens() {
    let Setup { mut service, mut handle, breaker, .. } = setup();
    assert_ready_ok!(ready(&mut service));
    trip(&breaker);
    assert_eq!(rejection(service.call(1).await), State::Open);
    assert_pending!(task::spawn(handle.next_request()).poll());
}

#[tokio::test]
async fn a_call_without_readiness_is_rejected() {
    let Setup { mut service, mut handle, breaker, .. } = setup();
    assert_eq!(rejection(service.call(1).await), State::Closed);
    // Readiness is valid for one call.
    assert_ready_ok!(ready(&mut service));
    let _call = service.call(2);
    assert_eq!(rejection(service.call(3).await), State::Closed);
    assert_eq!(handle.next_request().await.unwrap().0, 2);
    assert_eq!(breaker.stats().consecutive_failures(), 0);
}

#[tokio::test]
async fn a_clone_is_not_ready() {
    let Setup { mut service, mut handle, .. } = setup();
    handle.allow(10);
    assert_ready_ok!(ready(&mut service));
    let mut clone = service.clone();
    assert_eq!(rejection(clone.call(1).await), State::Closed);
    let _call = service.call(2);
    assert_eq!(handle.next_request().await.unwrap().0, 2);
}

#[tokio::test]
async fn a_waiting_caller_is_woken_and_rejected_when_the_circuit_opens() {
    let Setup { mut service, mut handle, breaker, .. } = setup();
    handle.allow(0);
    let mut waiter = task::spawn(());
    assert_pending!(waiter.enter(|cx, _| service.poll_ready(cx)));
    assert!(!waiter.is_woken());
    trip(&breaker);
    assert!(waiter.is_woken());
    assert_ready_ok!(waiter.enter(|cx, _| service.poll_ready(cx)));
    assert_eq!(rejection(service.call(1).await), State::Open);
}

#[tokio::test]
async fn every_waiting_caller_is_woken_except_one_that_was_dropped() {
    let Setup { service, mut handle, breaker, .. } = setup();
    handle.allow(0);
    let mut services: Vec<_> = (0..10).map(|_| service.clone()).collect();
    let mut waiters: Vec<_> = (0..10).map(|_| task::spawn(())).collect();
    for (service, waiter) in services.iter_mut().zip(&mut waiters) {
        assert_pending!(waiter.enter(|cx, _| service.poll_ready(cx)));
        // A task may poll again before it is woken.
        assert_pending!(waiter.enter(|cx, _| service.poll_ready(cx)));
    }
    drop(services.remove(0));
    trip(&breaker);
    let woken: Vec<bool> = waiters.iter().map(task::Spawn::is_woken).collect();
    assert_eq!(woken[1..], [true; 9]);
}

#[tokio::test]
async fn a_half_open_circuit_without_a_free_slot_rejects_without_polling() {
    let Setup { mut service, handle, breaker, clock } = setup();
    trip(&breaker);
    clock.advance(OPEN_TIME);
    let probe = breaker.try_acquire().unwrap();
    drop(handle);
    assert_ready_ok!(ready(&mut service));
    assert_eq!(rejection(service.call(1).await), State::HalfOpen);
    drop(probe);
    assert_ready_err!(ready(&mut service));
}

#[tokio::test]
async fn readiness_takes_no_probe_slot() {
    let Setup { mut service, mut handle, breaker, clock } = setup();
    handle.allow(10);
    trip(&breaker);
    clock.advance(OPEN_TIME);
    let mut parked = service.clone();
    assert_ready_ok!(ready(&mut parked));
    assert_ready_ok!(ready(&mut service));
    let call = task::spawn(service.call(1));
    // The clone was ready too, but the slot went to the first call.
    assert_eq!(rejection(parked.call(2).await), State::HalfOpen);
    drop(call);
    assert_eq!(breaker.state(), State::HalfOpen);
    breaker.try_acquire().unwrap().success();
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test]
async fn a_full_buffer_or_limit_below_does_not_turn_a_rejection_into_a_wait() {
    let layer = CircuitBreakerLayer::builder("below")
        .call_metrics(call_metrics())
        .trip_on(Trip::consecutive_failures(1))
        .build()
        .unwrap();
    let breaker = layer.breaker().clone();
    let (mock, mut handle) = mock::pair::<u32, u32>();
    handle.allow(1);
    let mut service =
        ServiceBuilder::new().layer(layer).buffer(1).concurrency_limit(1).service(mock);
    // One call is under way and fills the limit; further calls fill the buffer.
    let _under_way = service.ready().await.unwrap().call(1);
    let mut kept = Vec::new();
    for _ in 0..10 {
        tokio::task::yield_now().await;
        match task::spawn(()).enter(|cx, _| service.poll_ready(cx)) {
            std::task::Poll::Ready(ready) => {
                ready.unwrap();
                kept.push(service.call(2));
            }
            std::task::Poll::Pending => break,
        }
    }
    assert_pending!(task::spawn(()).enter(|cx, _| service.poll_ready(cx)));
    breaker.force_open();
    assert_ready_ok!(task::spawn(()).enter(|cx, _| service.poll_ready(cx)));
    let rejected = assert_ready!(task::spawn(service.call(3)).poll());
    assert!(matches!(rejected, Err(Error::Rejected(_))));
}
