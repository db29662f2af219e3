use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::{BoxError, Layer, spawn_ready::SpawnReady};
use tower_breaker::{Error, State};
use tower_test::mock;

use super::*;

/// The task that waits for readiness is not the one that calls.
#[tokio::test(start_paused = true)]
async fn above_the_task_that_waits_is_woken_when_the_circuit_opens() {
    let (service, mut handle, breaker) = guarded();
    handle.allow(0);
    let mut service = mock::Spawn::new(SpawnReady::new(service));
    assert_pending!(service.poll_ready());
    let_others_work().await;
    assert!(!service.is_woken());
    trip(&breaker);
    let_others_work().await;
    assert!(service.is_woken());
    assert_ready_ok!(service.poll_ready());
    assert_rejected(assert_ready!(poll_once(service.call(1))));
}

#[tokio::test(start_paused = true)]
async fn above_readiness_found_by_another_task_is_valid_for_the_call() {
    let (service, mut handle, breaker) = guarded();
    handle.allow(0);
    let mut service = mock::Spawn::new(SpawnReady::new(service));
    assert_pending!(service.poll_ready());
    let_others_work().await;
    handle.allow(1);
    let_others_work().await;
    assert_ready_ok!(service.poll_ready());
    let mut call = task::spawn(service.call(1));
    answer(&mut handle, 7);
    assert_eq!(assert_ready_ok!(call.poll()), 7);
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn below_a_pending_service_is_not_waited_for_once_the_circuit_opens() {
    let (client, mut handle) = client();
    handle.allow(0);
    let layer = layer();
    let mut service = mock::Spawn::new(layer.layer(SpawnReady::new(client)));
    assert_pending!(service.poll_ready());
    let_others_work().await;
    trip(layer.breaker());
    assert!(service.is_woken());
    assert_ready_ok!(service.poll_ready());
    let answered: Result<u32, Error<BoxError>> = assert_ready!(poll_once(service.call(1)));
    assert!(matches!(answered, Err(Error::Rejected(_))));

    // It is ready by now, and is called for the probe.
    handle.allow(1);
    let_others_work().await;
    tokio::time::advance(OPEN_TIME).await;
    assert_ready_ok!(service.poll_ready());
    let mut probe = task::spawn(service.call(1));
    answer(&mut handle, 7);
    assert_eq!(assert_ready_ok!(probe.poll()), 7);
    assert_eq!(layer.breaker().state(), State::Closed);
}
