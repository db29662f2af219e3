use std::sync::Arc;

use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{BoxError, Layer, Service, ServiceExt, buffer::Buffer};
use tower_breaker::{Error, Rejected, State};
use tower_test::mock;

use super::*;

#[tokio::test(start_paused = true)]
async fn above_an_open_breaker_each_request_is_rejected_and_the_buffer_survives() {
    let (service, mut handle, breaker) = guarded();
    let mut buffer = Buffer::new(service, 2);
    trip(&breaker);
    for _ in 0..10 {
        assert_rejected(buffer.ready().await.unwrap().call(1).await);
    }
    assert!(handle.poll_request().is_pending());

    tokio::time::advance(OPEN_TIME).await;
    let mut call = task::spawn(buffer.ready().await.unwrap().call(1));
    assert_pending!(call.poll());
    let_others_work().await;
    answer(&mut handle, 7);
    assert_eq!(call.await.unwrap(), 7);
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn above_the_worker_is_woken_when_the_circuit_opens() {
    let (service, mut handle, breaker) = guarded();
    handle.allow(0);
    let mut buffer = Buffer::new(service, 2);
    let mut calls = Vec::new();
    for _ in 0..2 {
        calls.push(buffer.ready().await.unwrap().call(1));
        let_others_work().await;
    }
    trip(&breaker);
    let_others_work().await;
    for call in calls {
        assert_rejected(assert_ready!(poll_once(call)));
    }
}

#[tokio::test(start_paused = true)]
async fn above_a_dropped_worker_is_not_woken() {
    struct Worker;
    impl std::task::Wake for Worker {
        fn wake(self: Arc<Self>) {}
    }
    let (service, mut handle, breaker) = guarded();
    handle.allow(0);
    let (mut buffer, mut worker) = Buffer::pair(service, 1);
    assert_ready_ok!(poll_ready(&mut buffer));
    let _call = buffer.call(1);
    let wake = Arc::new(Worker);
    let waker = Waker::from(Arc::clone(&wake));
    assert_pending!(pin!(&mut worker).poll(&mut Context::from_waker(&waker)));
    drop((worker, buffer, waker));
    assert_eq!(Arc::strong_count(&wake), 1);
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn above_a_request_that_was_cancelled_while_it_waited_takes_no_probe() {
    let (service, mut handle, breaker) = guarded();
    trip(&breaker);
    tokio::time::advance(OPEN_TIME).await;
    handle.allow(0);
    let mut buffer = Buffer::new(service, 2);
    let cancelled = buffer.ready().await.unwrap().call(1);
    let_others_work().await;
    let mut kept = task::spawn(buffer.ready().await.unwrap().call(2));
    drop(cancelled);
    handle.allow(10);
    let_others_work().await;
    let Poll::Ready(Some((2, send))) = handle.poll_request() else {
        panic!("not the second request")
    };
    send.send_response(2);
    assert_ready_ok!(kept.poll());
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn above_a_readiness_error_of_the_client_is_passed_on() {
    let (service, mut handle, breaker) = guarded();
    let mut buffer = Buffer::new(service, 2);
    handle.send_error("gone");
    let error = buffer.ready().await.unwrap().call(1).await.unwrap_err();
    assert!(error.to_string().contains("gone"), "{error}");
    assert!(Rejected::find(&*error).is_none());
    assert_eq!((breaker.state(), breaker.stats().consecutive_failures()), (State::Closed, 0));
}

/// The worker does not run, so requests stay in the buffer.
#[tokio::test(start_paused = true)]
async fn below_a_full_buffer_is_not_waited_for_once_the_circuit_opens() {
    let (client, _handle) = client();
    let (buffer, _worker) = Buffer::pair(client, 1);
    let layer = layer();
    let mut first = layer.layer(buffer.clone());
    assert_ready_ok!(poll_ready(&mut first));
    let _in_the_buffer = first.call(1);

    let mut second = mock::Spawn::new(layer.layer(buffer));
    assert_pending!(second.poll_ready());
    trip(layer.breaker());
    assert!(second.is_woken());
    assert_ready_ok!(second.poll_ready());
    let answer: Result<u32, Error<BoxError>> = assert_ready!(poll_once(second.call(2)));
    assert!(matches!(answer, Err(Error::Rejected(_))));
}

#[tokio::test(start_paused = true)]
async fn below_an_open_circuit_takes_no_place_in_the_buffer() {
    let (client, _handle) = client();
    let (mut buffer, _worker) = Buffer::pair(client, 1);
    let mut service = layer().layer(buffer.clone());
    trip(&service.breaker().clone());
    assert_ready_ok!(poll_ready(&mut service));
    assert_ready_ok!(poll_ready(&mut buffer));
    assert!(matches!(assert_ready!(poll_once(service.call(1))), Err(Error::Rejected(_))));
}

/// Like the permit of a limit, the place was taken by readiness.
#[tokio::test(start_paused = true)]
async fn below_a_rejected_call_that_was_ready_keeps_its_place_until_the_service_is_dropped() {
    let (client, _handle) = client();
    let (mut buffer, _worker) = Buffer::pair(client, 1);
    let mut service = layer().layer(buffer.clone());
    assert_ready_ok!(poll_ready(&mut service));
    trip(&service.breaker().clone());
    assert!(matches!(assert_ready!(poll_once(service.call(1))), Err(Error::Rejected(_))));
    assert_pending!(poll_ready(&mut buffer));
    drop(service);
    assert_ready_ok!(poll_ready(&mut buffer));
}

#[tokio::test(start_paused = true)]
async fn below_a_closed_buffer_is_a_readiness_error_unless_the_circuit_is_open() {
    let (client, _handle) = client();
    let (buffer, worker) = Buffer::pair(client, 1);
    let mut service = layer().layer(buffer);
    let breaker = service.breaker().clone();
    drop(worker);
    assert!(matches!(assert_ready_err!(poll_ready(&mut service)), Error::Inner(_)));
    assert_eq!(breaker.stats().consecutive_failures(), 0);
    trip(&breaker);
    assert_ready_ok!(poll_ready(&mut service));
    assert!(matches!(assert_ready!(poll_once(service.call(1))), Err(Error::Rejected(_))));
}

#[tokio::test(start_paused = true)]
async fn below_a_failed_call_opens_the_circuit_and_the_buffer_survives() {
    let (client, mut handle) = client();
    let mut service = layer().layer(Buffer::new(client, 1));
    let mut call = task::spawn(service.ready().await.unwrap().call(1));
    assert_pending!(call.poll());
    let_others_work().await;
    fail(&mut handle);
    assert!(matches!(assert_ready_err!(call.poll()), Error::Inner(_)));
    assert_eq!(service.breaker().state(), State::Open);

    tokio::time::advance(OPEN_TIME).await;
    let mut call = task::spawn(service.ready().await.unwrap().call(1));
    assert_pending!(call.poll());
    let_others_work().await;
    answer(&mut handle, 7);
    assert_eq!(assert_ready_ok!(call.poll()), 7);
}

/// A buffer around a breaker around a buffer.
#[tokio::test(start_paused = true)]
async fn a_breaker_with_boxed_errors_fits_between_two_buffers() {
    let (client, mut handle) = client();
    let layer = builder().reject_with(RejectAsBoxError).build().unwrap();
    let mut service = Buffer::new(layer.layer(Buffer::new(client, 1)), 1);
    let mut call = task::spawn(service.ready().await.unwrap().call(1));
    assert_pending!(call.poll());
    let_others_work().await;
    fail(&mut handle);
    let_others_work().await;
    assert_ready_err!(call.poll());
    assert_rejected(service.ready().await.unwrap().call(1).await);
}
