//! A breaker with back-pressure among the middleware of tower.

use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{
    Layer, Service,
    balance::p2c::Balance,
    buffer::Buffer,
    discover::ServiceList,
    limit::ConcurrencyLimit,
    load::{CompleteOnResponse, PendingRequests},
    load_shed::{LoadShed, error::Overloaded},
    steer::Steer,
};
use tower_breaker::{
    State,
    classify::ErrorsAsFailures,
    reject::{Backpressure, RejectAsError},
};
use tower_test::mock;

use super::*;

type Patient<S = Client> = CircuitBreaker<S, ErrorsAsFailures, Backpressure<RejectAsError>>;

fn patient<S>(inner: S) -> (Patient<S>, Breaker) {
    let service = builder().backpressure().build().unwrap().layer(inner);
    let breaker = service.breaker().clone();
    (service, breaker)
}

#[tokio::test(start_paused = true)]
async fn a_balancer_sends_no_calls_to_an_open_endpoint_until_its_open_time_is_over() {
    let (mut endpoints, mut handles, mut breakers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..2 {
        let (client, handle) = client();
        let (service, breaker) = patient(client);
        endpoints.push(PendingRequests::new(service, CompleteOnResponse::default()));
        handles.push(handle);
        breakers.push(breaker);
    }
    let mut balance = mock::Spawn::new(Balance::new(ServiceList::new::<u32>(endpoints)));
    trip(&breakers[0]);
    for _ in 0..20 {
        tokio::task::yield_now().await;
        assert_ready_ok!(balance.poll_ready());
        let mut call = task::spawn(balance.call(1));
        answer(&mut handles[1], 7);
        assert_ready_ok!(call.poll());
    }

    trip(&breakers[1]);
    assert_pending!(balance.poll_ready());
    assert_eq!(balance.get_ref().len(), 2);
    tokio::time::advance(OPEN_TIME).await;
    assert!(balance.is_woken());
    assert_ready_ok!(balance.poll_ready());
    let mut probe = task::spawn(balance.call(1));
    for handle in &mut handles {
        if let Poll::Ready(Some((_, send))) = handle.poll_request() {
            send.send_response(7);
        }
    }
    assert_ready_ok!(probe.poll());
}

#[tokio::test(start_paused = true)]
async fn a_buffer_above_keeps_requests_until_the_circuit_admits_them() {
    let (client, mut handle) = client();
    let (service, breaker) = patient(client);
    let mut buffer = Buffer::new(service, 2);
    trip(&breaker);
    let mut calls = Vec::new();
    for number in 0..2 {
        assert_ready_ok!(poll_ready(&mut buffer));
        calls.push(task::spawn(buffer.call(number)));
        let_others_work().await;
    }
    assert!(handle.poll_request().is_pending());
    tokio::time::advance(OPEN_TIME).await;
    for call in &mut calls {
        let_others_work().await;
        assert_pending!(call.poll());
        answer(&mut handle, 7);
        assert_ready_ok!(call.poll());
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_load_shed_above_turns_waiting_into_an_overload() {
    let (client, mut handle) = client();
    let (service, breaker) = patient(client);
    let mut shed = LoadShed::new(service);
    trip(&breaker);
    for _ in 0..3 {
        assert_ready_ok!(poll_ready(&mut shed));
        assert!(assert_ready_err!(poll_once(shed.call(1))).is::<Overloaded>());
    }
    tokio::time::advance(OPEN_TIME).await;
    assert_ready_ok!(poll_ready(&mut shed));
    let mut probe = task::spawn(shed.call(1));
    answer(&mut handle, 7);
    assert_ready_ok!(probe.poll());
    assert_eq!(breaker.state(), State::Closed);
}

/// A steer waits for all its services, so none of them should use back-pressure.
#[tokio::test(start_paused = true)]
async fn a_steer_above_waits_for_an_open_service() {
    let ((first, _handle), (second, _other)) = (client(), client());
    let ((open, breaker), (healthy, _)) = (patient(first), patient(second));
    let by_parity = |_: &u32, _: &[Patient]| 1;
    let mut steer = mock::Spawn::new(Steer::new([open, healthy], by_parity));
    trip(&breaker);
    assert_pending!(steer.poll_ready());
    breaker.reset();
    assert!(steer.is_woken());
    assert_ready_ok!(steer.poll_ready());
}

#[tokio::test(start_paused = true)]
async fn a_limit_above_gets_the_permit_of_an_abandoned_wait_back() {
    let (client, _handle) = client();
    let (service, breaker) = patient(client);
    let mut first = mock::Spawn::new(ConcurrencyLimit::new(service, 1));
    let mut second = first.clone();
    trip(&breaker);
    assert_pending!(first.poll_ready());
    assert_pending!(second.poll_ready());
    drop(first);
    assert!(second.is_woken());
    assert_pending!(second.poll_ready());
    breaker.reset();
    assert!(second.is_woken());
    assert_ready_ok!(second.poll_ready());
}

#[tokio::test(start_paused = true)]
async fn a_limit_below_keeps_its_permits_while_callers_wait_for_the_circuit() {
    let (client, mut handle) = client();
    let mut limit = ConcurrencyLimit::new(client, 1);
    let (service, breaker) = patient(limit.clone());
    let mut service = mock::Spawn::new(service);
    trip(&breaker);
    assert_pending!(service.poll_ready());
    assert_ready_ok!(poll_ready(&mut limit));

    // The circuit admits the next caller, which now waits for the limit.
    tokio::time::advance(OPEN_TIME).await;
    assert!(service.is_woken());
    assert_pending!(service.poll_ready());
    drop(limit);
    assert!(service.is_woken());
    assert_ready_ok!(service.poll_ready());
    let mut probe = task::spawn(service.call(1));
    answer(&mut handle, 7);
    assert_ready_ok!(probe.poll());
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_an_exhausted_limit_below_holds_no_slot() {
    let (client, mut handle) = client();
    let mut limit = ConcurrencyLimit::new(client, 1);
    let (service, breaker) = patient(limit.clone());
    let mut service = mock::Spawn::new(service);
    assert_ready_ok!(poll_ready(&mut limit));
    trip(&breaker);
    tokio::time::advance(OPEN_TIME).await;
    assert_pending!(service.poll_ready());
    // It took no slot: the breaker itself still admits a call.
    breaker.try_acquire().expect("a free slot").failure();
    assert_eq!(breaker.state(), State::Open);
    drop(limit);
    assert!(service.is_woken());
    assert_pending!(service.poll_ready());
    tokio::time::advance(OPEN_TIME).await;
    assert!(service.is_woken());
    assert_ready_ok!(service.poll_ready());
    let mut probe = task::spawn(service.call(1));
    answer(&mut handle, 7);
    assert_ready_ok!(probe.poll());
}
