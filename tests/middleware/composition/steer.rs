use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceBuilder, steer::Steer, util::option_layer};
use tower_breaker::{Error, State};

use super::*;

/// The request is the index of its service.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "`Steer` requires this signature")]
fn by_number<S>(request: &u32, _: &[S]) -> usize {
    *request as usize
}

#[tokio::test(start_paused = true)]
async fn above_an_open_service_rejects_its_requests_and_does_not_delay_others() {
    let (open, handle, breaker) = guarded();
    let (healthy, mut healthy_handle, _) = guarded();
    let mut steer = Steer::new([open, healthy], by_number);
    trip(&breaker);
    // If the client were polled, its error would become that of the steer.
    drop(handle);
    for _ in 0..3 {
        assert_ready_ok!(poll_ready(&mut steer));
        assert_rejected(assert_ready!(poll_once(steer.call(0))));
        assert_ready_ok!(poll_ready(&mut steer));
        let mut call = task::spawn(steer.call(1));
        answer(&mut healthy_handle, 7);
        assert_eq!(assert_ready_ok!(call.poll()), 7);
    }
}

#[tokio::test(start_paused = true)]
async fn above_an_opening_ends_the_wait_for_all_services() {
    let (waiting, mut handle, breaker) = guarded();
    let (healthy, mut healthy_handle, _) = guarded();
    handle.allow(0);
    let mut steer = tower_test::mock::Spawn::new(Steer::new([waiting, healthy], by_number));
    assert_pending!(steer.poll_ready());
    trip(&breaker);
    assert!(steer.is_woken());
    assert_ready_ok!(steer.poll_ready());
    let mut call = task::spawn(steer.call(1));
    answer(&mut healthy_handle, 7);
    assert_ready_ok!(call.poll());
}

/// A steer keeps the readiness of each service until it is used. Readiness from while the circuit
/// was open leads to one rejection later.
#[tokio::test(start_paused = true)]
async fn above_readiness_to_reject_is_kept_for_one_call() {
    let (service, mut handle, breaker) = guarded();
    trip(&breaker);
    let mut steer = Steer::new([service], by_number);
    assert_ready_ok!(poll_ready(&mut steer));
    tokio::time::advance(OPEN_TIME).await;
    assert_ready_ok!(poll_ready(&mut steer));
    assert_rejected(assert_ready!(poll_once(steer.call(0))));
    assert_eq!(breaker.state(), State::HalfOpen);
    assert_ready_ok!(poll_ready(&mut steer));
    let mut probe = task::spawn(steer.call(0));
    answer(&mut handle, 7);
    assert_ready_ok!(probe.poll());
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn below_one_circuit_covers_all_services_and_none_is_waited_for() {
    let ((waiting, mut handle), (failing, mut failing_handle)) = (client(), client());
    let layer = layer();
    let mut service =
        tower_test::mock::Spawn::new(layer.layer(Steer::new([waiting, failing], by_number)));
    assert_ready_ok!(service.poll_ready());
    handle.allow(0);
    let mut call = task::spawn(service.call(1));
    fail(&mut failing_handle);
    assert_ready_err!(call.poll());
    assert_eq!(layer.breaker().state(), State::Open);
    assert_ready_ok!(service.poll_ready());
    assert!(matches!(assert_ready!(poll_once(service.call(0))), Err(Error::Rejected(_))));
}

/// Both branches need the same error type, so the breaker has boxed errors.
#[tokio::test(start_paused = true)]
async fn the_layer_works_as_an_optional_layer() {
    for wanted in [true, false] {
        let layer = builder().reject_with(RejectAsBoxError).build().unwrap();
        trip(layer.breaker());
        let (mock, mut handle) = tower_test::mock::pair::<u32, u32>();
        let optional = option_layer(wanted.then_some(layer));
        let mut service = ServiceBuilder::new().layer(optional).service(mock);
        assert_ready_ok!(poll_ready(&mut service));
        let mut call = task::spawn(service.call(1));
        if wanted {
            assert_rejected(assert_ready!(call.poll()));
        } else {
            answer(&mut handle, 7);
            assert_eq!(assert_ready_ok!(call.poll()), 7);
        }
    }
}
