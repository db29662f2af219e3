use std::time::Duration;

use tokio::time::{advance, sleep};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, ServiceExt};
use tower_breaker::{
    Breaker, CircuitBreaker, CircuitBreakerLayer, State,
    classify::ErrorsAsFailures,
    reject::{Backpressure, RejectAsError},
};
use tower_test::mock;

use crate::waiting::{OPEN_TIME, quick, trip};

type Inner = mock::Mock<&'static str, &'static str>;
type Service_ = CircuitBreaker<Inner, ErrorsAsFailures, Backpressure<RejectAsError>>;

fn layer() -> CircuitBreakerLayer<ErrorsAsFailures, Backpressure<RejectAsError>> {
    let breaker = quick(Breaker::builder("waiting")).build().expect("a breaker");
    CircuitBreakerLayer::new(breaker).backpressure()
}

fn services<const N: usize>()
-> (Breaker, [mock::Spawn<Service_>; N], mock::Handle<&'static str, &'static str>) {
    let layer = layer();
    let (inner, mut handle) = mock::pair();
    handle.allow(100);
    let services = std::array::from_fn(|_| mock::Spawn::new(layer.layer(inner.clone())));
    (layer.breaker().clone(), services, handle)
}

#[tokio::test(start_paused = true)]
async fn a_closed_circuit_is_as_ready_as_its_service() {
    let (_, [mut service], mut handle) = services::<1>();
    handle.allow(0);
    assert_pending!(service.poll_ready());
    handle.allow(1);
    assert_ready_ok!(service.poll_ready());
    let mut call = task::spawn(service.call("hello"));
    assert_pending!(call.poll());
    let (_, respond) = handle.next_request().await.expect("a request");
    respond.send_response("world");
    assert_eq!(assert_ready_ok!(call.poll()), "world");
}

#[tokio::test(start_paused = true)]
async fn while_open_no_service_is_ready_and_the_inner_service_is_not_polled() {
    let (breaker, [mut service], mut handle) = services::<1>();
    handle.send_error("asked");
    trip(&breaker);
    assert_pending!(service.poll_ready());
    advance(OPEN_TIME / 2).await;
    assert!(!service.is_woken());
    advance(OPEN_TIME / 2).await;
    assert!(service.is_woken());
    assert_ready_err!(service.poll_ready());
}

#[tokio::test(start_paused = true)]
async fn as_many_services_are_ready_as_there_are_slots_and_each_is_woken_once() {
    let (breaker, mut services, mut handle) = services::<5>();
    trip(&breaker);
    for service in &mut services {
        assert_pending!(service.poll_ready());
    }
    advance(OPEN_TIME).await;
    assert_eq!(woken(&services), 1);
    assert_ready_ok!(services[0].poll_ready());
    assert_eq!(woken(&services[1..]), 0);
    // Readiness without a call holds no slot.
    assert_eq!(breaker.snapshot().half_open_attempts, 0);
    let mut call = task::spawn(services[0].call("probe"));
    assert_pending!(call.poll());
    assert_eq!(woken(&services[1..]), 0);
    let (_, respond) = handle.next_request().await.expect("a request");
    respond.send_response("fine");
    assert_ready_ok!(call.poll());
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(woken(&services[1..]), 4);
    for service in &mut services[1..] {
        assert_ready_ok!(service.poll_ready());
    }
}

fn woken(services: &[mock::Spawn<Service_>]) -> usize {
    services.iter().filter(|service| service.is_woken()).count()
}

#[tokio::test(start_paused = true)]
async fn a_ready_service_that_is_dropped_passes_its_turn_on() {
    let (breaker, [mut first, mut second, mut third], _handle) = services::<3>();
    trip(&breaker);
    assert_pending!(first.poll_ready());
    assert_pending!(second.poll_ready());
    assert_pending!(third.poll_ready());
    advance(OPEN_TIME).await;
    assert_ready_ok!(first.poll_ready());
    assert!(!second.is_woken());
    drop(first);
    assert!(second.is_woken());
    // Woken, but dropped before it is polled.
    drop(second);
    assert!(third.is_woken());
    assert_ready_ok!(third.poll_ready());
}

#[tokio::test(start_paused = true)]
async fn a_ready_service_that_never_calls_loses_its_turn() {
    let (breaker, [mut idle, service], mut handle) = services::<2>();
    trip(&breaker);
    sleep(OPEN_TIME).await;
    assert_ready_ok!(idle.poll_ready());
    let call = tokio::spawn(service.into_inner().oneshot("probe"));
    sleep(Duration::from_secs(2)).await;
    let (_, respond) = handle.next_request().await.expect("a request");
    respond.send_response("fine");
    assert_eq!(call.await.expect("no panic").expect("an answer"), "fine");
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_probe_admits_the_next() {
    let (breaker, [mut first, mut second], _handle) = services::<2>();
    trip(&breaker);
    sleep(OPEN_TIME).await;
    assert_ready_ok!(first.poll_ready());
    assert_pending!(second.poll_ready());
    let call = task::spawn(first.call("probe"));
    assert!(!second.is_woken());
    drop(call);
    assert!(second.is_woken());
    assert_ready_ok!(second.poll_ready());
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_probe_every_service_waits_again() {
    let (breaker, [mut first, mut second], mut handle) = services::<2>();
    trip(&breaker);
    assert_pending!(second.poll_ready());
    sleep(OPEN_TIME).await;
    assert_pending!(first.poll_ready());
    assert_ready_ok!(second.poll_ready());
    let mut call = task::spawn(second.call("probe"));
    let (_, respond) = handle.next_request().await.expect("a request");
    respond.send_error("still down");
    assert_ready_err!(call.poll());
    assert_eq!(breaker.state(), State::Open);
    assert_pending!(first.poll_ready());
    sleep(OPEN_TIME + Duration::from_millis(1)).await;
    assert!(first.is_woken());
    assert_ready_ok!(first.poll_ready());
}

#[tokio::test(start_paused = true)]
async fn readiness_ends_in_a_rejection_if_the_circuit_opens() {
    let (breaker, [mut service], _handle) = services::<1>();
    assert_ready_ok!(service.poll_ready());
    trip(&breaker);
    let error = assert_ready_err!(task::spawn(service.call("late")).poll());
    assert_eq!(error.rejected().map(tower_breaker::Rejected::state), Some(State::Open));
}

#[tokio::test(start_paused = true)]
async fn a_rejected_call_passes_its_turn_on() {
    let (breaker, [mut first, mut second], _handle) = services::<2>();
    trip(&breaker);
    sleep(OPEN_TIME).await;
    assert_ready_ok!(first.poll_ready());
    assert_pending!(second.poll_ready());
    // It does not wait, and so takes the slot before the others.
    let permit = breaker.try_acquire().expect("a slot");
    assert!(assert_ready_err!(task::spawn(first.call("late")).poll()).rejected().is_some());
    drop(permit);
    assert!(second.is_woken());
    assert_ready_ok!(second.poll_ready());
}

#[tokio::test(start_paused = true)]
async fn a_readiness_error_of_the_inner_service_releases_its_turn() {
    let (breaker, [mut first, mut second], mut handle) = services::<2>();
    trip(&breaker);
    sleep(OPEN_TIME).await;
    assert_ready_ok!(first.poll_ready());
    assert_pending!(second.poll_ready());
    handle.send_error("broken");
    assert_ready_err!(first.poll_ready());
    assert!(second.is_woken());
}
