use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimit};
use tower_breaker::{Breaker, CircuitBreaker, State};
use tower_test::mock;

use super::*;

type Limited = CircuitBreaker<ConcurrencyLimit<Client>>;

/// Breakers over clones of one limit with this number of permits.
fn below<const N: usize>(permits: usize) -> ([mock::Spawn<Limited>; N], Handle, Breaker) {
    let (client, handle) = client();
    let layer = layer();
    let limit = ConcurrencyLimit::new(client, permits);
    let services = std::array::from_fn(|_| mock::Spawn::new(layer.layer(limit.clone())));
    (services, handle, layer.breaker().clone())
}

#[tokio::test(start_paused = true)]
async fn above_a_rejection_releases_its_permit() {
    let (service, _handle, breaker) = guarded();
    let mut limit = ConcurrencyLimit::new(service, 1);
    trip(&breaker);
    for _ in 0..5 {
        assert_rejected(call_at_once(&mut limit));
        assert_rejected(call_at_once(&mut limit.clone()));
    }
}

#[tokio::test(start_paused = true)]
async fn above_a_cancelled_probe_releases_its_permit_and_its_slot() {
    let (service, mut handle, breaker) = guarded();
    let mut limit = ConcurrencyLimit::new(service, 1);
    trip(&breaker);
    tokio::time::advance(OPEN_TIME).await;
    for _ in 0..3 {
        assert_ready_ok!(poll_ready(&mut limit));
        let call = limit.call(1);
        assert_pending!(poll_ready(&mut limit.clone()));
        drop(call);
        assert_eq!(breaker.state(), State::HalfOpen);
    }
    assert_ready_ok!(poll_ready(&mut limit));
    let mut call = task::spawn(limit.call(1));
    // The mock still has the requests of the cancelled calls.
    for _ in 0..4 {
        answer(&mut handle, 7);
    }
    assert_ready_ok!(call.poll());
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn above_a_call_reaches_the_breaker_once_it_has_a_permit() {
    let (service, mut handle, breaker) = guarded();
    let mut first = ConcurrencyLimit::new(service, 1);
    let mut second = mock::Spawn::new(first.clone());
    assert_ready_ok!(poll_ready(&mut first));
    let mut call = task::spawn(first.call(1));
    assert_pending!(second.poll_ready());
    fail(&mut handle);
    assert_ready_err!(call.poll());
    drop(call);
    assert_eq!(breaker.state(), State::Open);
    assert!(second.is_woken());
    assert_ready_ok!(second.poll_ready());
    assert_rejected(assert_ready!(poll_once(second.call(2))));
}

#[tokio::test(start_paused = true)]
async fn below_an_exhausted_limit_is_not_waited_for_once_the_circuit_opens() {
    let ([mut first, mut second], mut handle, breaker) = below(1);
    assert_ready_ok!(first.poll_ready());
    let mut under_way = task::spawn(first.call(1));
    assert_pending!(second.poll_ready());
    trip(&breaker);
    assert!(second.is_woken());
    for _ in 0..3 {
        assert_ready_ok!(second.poll_ready());
        assert_rejected(assert_ready!(poll_once(second.call(2))));
    }

    answer(&mut handle, 1);
    assert_ready_ok!(under_way.poll());
    drop(under_way);
    tokio::time::advance(OPEN_TIME).await;
    assert_ready_ok!(second.poll_ready());
    let mut probe = task::spawn(second.call(3));
    answer(&mut handle, 3);
    assert_ready_ok!(probe.poll());
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn below_an_open_circuit_takes_no_permit() {
    let (client, _handle) = client();
    let mut limit = ConcurrencyLimit::new(client, 1);
    let mut service = layer().layer(limit.clone());
    trip(&service.breaker().clone());
    assert_ready_ok!(poll_ready(&mut service));
    assert_ready_ok!(poll_ready(&mut limit));
    assert_rejected(assert_ready!(poll_once(service.call(1))));
}

/// Otherwise the limit would panic, here and in the next test.
#[tokio::test(start_paused = true)]
async fn below_a_rejection_does_not_call_the_limit() {
    let ([mut service], _handle, breaker) = below(1);
    trip(&breaker);
    assert_ready_ok!(service.poll_ready());
    breaker.reset();
    assert_rejected(assert_ready!(poll_once(service.call(1))));
}

#[tokio::test(start_paused = true)]
async fn below_a_call_without_readiness_does_not_call_the_limit() {
    let ([mut service], mut handle, breaker) = below(2);
    assert_rejected(assert_ready!(poll_once(service.call(1))));
    for half_open in [false, true] {
        if half_open {
            trip(&breaker);
            tokio::time::advance(OPEN_TIME).await;
        }
        assert_ready_ok!(service.poll_ready());
        let mut call = task::spawn(service.call(2));
        answer(&mut handle, 2);
        assert_ready_ok!(call.poll());
        assert_rejected(assert_ready!(poll_once(service.call(3))));
    }
}

/// Readiness took the permit, and a service cannot give readiness back. This clone of
/// the service keeps it until its next admitted call or until it is dropped. Other users of the
/// limit wait until then, unless the circuit rejects them.
#[tokio::test(start_paused = true)]
async fn below_a_rejected_call_that_was_ready_keeps_its_permit_for_the_next_call() {
    let ([mut first, mut second], mut handle, breaker) = below(1);
    assert_ready_ok!(first.poll_ready());
    trip(&breaker);
    assert_rejected(assert_ready!(poll_once(first.call(1))));
    // While the circuit is open, no permit is needed.
    assert_ready_ok!(second.poll_ready());
    assert_rejected(assert_ready!(poll_once(second.call(2))));

    breaker.reset();
    assert_pending!(second.poll_ready());
    // The first already has the permit, and does not take another.
    assert_ready_ok!(first.poll_ready());
    let mut call = task::spawn(first.call(3));
    assert!(!second.is_woken());
    answer(&mut handle, 3);
    assert_ready_ok!(call.poll());
    // The call is over, and its permit is free while its future still exists.
    assert!(second.is_woken());
    assert_ready_ok!(second.poll_ready());
    drop(call);
}

/// The same holds for a place in the queue: a service that is rejected while it waits keeps the
/// place and gets the next permit, which it may not need.
#[tokio::test(start_paused = true)]
async fn below_a_rejected_call_that_waited_keeps_its_place_in_the_queue_until_the_service_is_dropped()
 {
    let ([mut first, mut second, mut third], mut handle, breaker) = below(1);
    assert_ready_ok!(first.poll_ready());
    let mut under_way = task::spawn(first.call(1));
    assert_pending!(second.poll_ready());
    trip(&breaker);
    assert_ready_ok!(second.poll_ready());
    assert_rejected(assert_ready!(poll_once(second.call(2))));
    answer(&mut handle, 1);
    assert_ready_ok!(under_way.poll());
    drop(under_way);

    breaker.reset();
    assert_pending!(third.poll_ready());
    drop(second);
    assert!(third.is_woken());
    assert_ready_ok!(third.poll_ready());
}

/// `oneshot` and most servers make each call with a clone that is dropped afterwards.
#[tokio::test(start_paused = true)]
async fn below_a_call_with_its_own_clone_keeps_no_permit() {
    let (client, mut handle) = client();
    let service = layer().layer(ConcurrencyLimit::new(client, 1));
    let breaker = service.breaker().clone();
    let mut under_way = task::spawn(service.clone().oneshot(1));
    let mut waiting: Vec<_> =
        (0..3).map(|number| task::spawn(service.clone().oneshot(number))).collect();
    assert_pending!(under_way.poll());
    for call in &mut waiting {
        assert_pending!(call.poll());
    }
    trip(&breaker);
    for call in &mut waiting {
        assert!(call.is_woken());
        assert_rejected(assert_ready!(call.poll()));
    }
    answer(&mut handle, 1);
    assert_ready_ok!(under_way.poll());
    tokio::time::advance(OPEN_TIME).await;
    let mut probe = task::spawn(service.oneshot(1));
    assert_pending!(probe.poll());
    answer(&mut handle, 7);
    assert_ready_ok!(probe.poll());
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn below_dropping_the_service_releases_the_permit_of_a_rejected_call() {
    let ([mut first, mut second], _handle, breaker) = below(1);
    assert_ready_ok!(first.poll_ready());
    trip(&breaker);
    assert_rejected(assert_ready!(poll_once(first.call(1))));
    tokio::time::advance(OPEN_TIME).await;
    assert_pending!(second.poll_ready());
    drop(first);
    assert!(second.is_woken());
    assert_ready_ok!(second.poll_ready());
}

/// The same holds if more services were ready than there are probe slots.
#[tokio::test(start_paused = true)]
async fn below_services_without_a_probe_keep_their_permits_for_their_next_calls() {
    let (mut services, mut handle, breaker) = below::<3>(3);
    trip(&breaker);
    tokio::time::advance(OPEN_TIME).await;
    for service in &mut services {
        assert_ready_ok!(service.poll_ready());
    }
    let [first, others @ ..] = &mut services;
    let mut probe = task::spawn(first.call(1));
    for service in others {
        assert_rejected(assert_ready!(poll_once(service.call(2))));
    }
    answer(&mut handle, 1);
    assert_ready_ok!(probe.poll());
    drop(probe);
    assert_eq!(breaker.state(), State::Closed);
    for service in &mut services {
        assert_ready_ok!(service.poll_ready());
        let mut call = task::spawn(service.call(3));
        answer(&mut handle, 3);
        assert_ready_ok!(call.poll());
    }
}

#[tokio::test(start_paused = true)]
async fn below_a_clone_is_not_ready_and_holds_no_permit() {
    let ([mut first, _], _handle, _) = below(1);
    assert_ready_ok!(first.poll_ready());
    let mut clone = first.clone();
    assert_rejected(assert_ready!(poll_once(clone.call(1))));
    assert_pending!(clone.poll_ready());
    drop(first);
    assert!(clone.is_woken());
    assert_ready_ok!(clone.poll_ready());
}
