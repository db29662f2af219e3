use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimit};
use tower_breaker::{Breaker, CircuitBreaker, State};
use tower_test::mock;

use super::*;

type Limited = CircuitBreaker<ConcurrencyLimit<Client>>;

/// Breakers over clones of one limit: as many as asked for, with so many permits in all.
fn below<const N: usize>(permits: usize) -> ([mock::Spawn<Limited>; N], Handle, Breaker) {
    let (client, handle) = client();
    let layer = layer();
    let limit = ConcurrencyLimit::new(client, permits);
    let services = std::array::from_fn(|_| mock::Spawn::new(layer.layer(limit.clone())));
    (services, handle, layer.breaker().clone())
}

#[tokio::test(start_paused = true)]
async fn above_a_rejection_gives_its_permit_back() {
    let (service, _handle, breaker) = guarded();
    let mut limit = ConcurrencyLimit::new(service, 1);
    trip(&breaker);
    for _ in 0..5 {
        assert_rejected(call_at_once(&mut limit));
        assert_rejected(call_at_once(&mut limit.clone()));
    }
}

#[tokio::test(start_paused = true)]
async fn above_a_cancelled_probe_gives_both_its_permit_and_its_slot_back() {
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
    // The mock keeps the requests of the cancelled calls.
    for _ in 0..4 {
        answer(&mut handle, 7);
    }
    assert_ready_ok!(call.poll());
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn above_one_that_waits_for_a_permit_comes_to_the_breaker_when_it_has_one() {
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
async fn below_an_exhausted_one_is_not_waited_for_once_the_circuit_opens() {
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

/// The limit would panic, here and in the next.
#[tokio::test(start_paused = true)]
async fn below_readiness_to_reject_does_not_reach_it() {
    let ([mut service], _handle, breaker) = below(1);
    trip(&breaker);
    assert_ready_ok!(service.poll_ready());
    breaker.reset();
    assert_rejected(assert_ready!(poll_once(service.call(1))));
}

#[tokio::test(start_paused = true)]
async fn below_a_call_without_readiness_does_not_reach_it() {
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

/// The permit was taken by readiness, and a service cannot be told that it is not needed: it
/// stays with this clone of the service until its next admitted call, or until it is dropped.
/// Those who share the limit wait that long, unless the circuit rejects them.
#[tokio::test(start_paused = true)]
async fn below_the_permit_of_a_call_that_met_an_opening_stays_until_the_next_call() {
    let ([mut first, mut second], mut handle, breaker) = below(1);
    assert_ready_ok!(first.poll_ready());
    trip(&breaker);
    assert_rejected(assert_ready!(poll_once(first.call(1))));
    // While the circuit is open, nobody needs a permit.
    assert_ready_ok!(second.poll_ready());
    assert_rejected(assert_ready!(poll_once(second.call(2))));

    breaker.reset();
    assert_pending!(second.poll_ready());
    // The first has the permit already, and does not ask for another.
    assert_ready_ok!(first.poll_ready());
    let mut call = task::spawn(first.call(3));
    answer(&mut handle, 3);
    assert_ready_ok!(call.poll());
    assert!(!second.is_woken());
    drop(call);
    assert!(second.is_woken());
    assert_ready_ok!(second.poll_ready());
}

/// The same for a place in the queue: who is rejected while it waits keeps it, and gets the next
/// permit, which it may have no use for.
#[tokio::test(start_paused = true)]
async fn below_the_place_in_the_queue_of_one_that_was_rejected_stays_until_it_is_dropped() {
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

/// Who makes each call with a clone that is dropped afterwards, as `oneshot` and most servers do,
/// leaves nothing behind.
#[tokio::test(start_paused = true)]
async fn below_calls_with_a_clone_each_leave_no_permit_behind() {
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
async fn below_the_permit_of_a_call_that_met_an_opening_comes_back_with_a_drop() {
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

/// The same where more were ready than there are probes.
#[tokio::test(start_paused = true)]
async fn below_the_permits_of_those_who_got_no_probe_are_there_for_their_next_calls() {
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
