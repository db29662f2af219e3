//! `MakeService`: one breaker for each target, or one for all connections.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::ready,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio_test::{assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{
    BoxError, Layer, MakeService, Service, make::Shared, reconnect::Reconnect, service_fn,
};
use tower_breaker::State;

use super::*;

#[tokio::test(start_paused = true)]
async fn connections_of_one_target_share_a_breaker_and_targets_do_not() {
    let targets = Arc::new(Mutex::new(HashMap::new()));
    let mut make = service_fn(move |target: u32| {
        let layer = targets.lock().unwrap().entry(target).or_insert_with(layer).clone();
        let connection = service_fn(move |request: u32| async move {
            if target == 0 { Err(Broken("broken".into())) } else { Ok(request) }
        });
        ready(Ok::<_, Infallible>(layer.layer(connection)))
    });
    let mut failing = make.make_service(0).await.unwrap();
    let mut again = make.make_service(0).await.unwrap();
    let mut healthy = make.make_service(1).await.unwrap();
    let error = call_at_once(&mut failing).unwrap_err();
    assert_eq!(error.to_string(), "broken");
    assert_rejected(call_at_once(&mut failing));
    assert_rejected(call_at_once(&mut again));
    assert_rejected(call_at_once(&mut make.make_service(0).await.unwrap()));
    assert_eq!(call_at_once(&mut healthy).unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn connections_that_share_a_service_share_its_breaker() {
    let (service, mut handle, breaker) = guarded();
    let mut shared = Shared::new(service);
    let mut first = shared.make_service("first").await.unwrap();
    let mut second = shared.make_service("second").await.unwrap();
    assert_ready_ok!(poll_ready(&mut first));
    let mut call = task::spawn(first.call(1));
    fail(&mut handle);
    assert_ready_err!(call.poll());
    assert_eq!(breaker.state(), State::Open);
    assert_rejected(call_at_once(&mut second));
}

/// A breaker around the connector.
#[tokio::test(start_paused = true)]
async fn a_target_that_cannot_be_reached_is_not_tried_while_its_circuit_is_open() {
    let attempts = Arc::new(AtomicU32::new(0));
    let mut make = layer().layer(service_fn({
        let attempts = Arc::clone(&attempts);
        move |_: u32| {
            let attempt = attempts.fetch_add(1, Ordering::SeqCst);
            ready(if attempt == 0 { Err(Broken("refused".into())) } else { Ok(attempt) })
        }
    }));
    assert_eq!(call_at_once(&mut make).unwrap_err().to_string(), "refused");
    for _ in 0..5 {
        assert_rejected(call_at_once(&mut make));
    }
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
    tokio::time::advance(OPEN_TIME).await;
    assert_eq!(call_at_once(&mut make).unwrap(), 1);
    assert_eq!(make.breaker().state(), State::Closed);
}

/// Fails the first attempt to connect, and counts the attempts.
fn connecting(
    attempts: &Arc<AtomicU32>,
) -> (impl Service<(), Response = Client, Error = Broken, Future: Unpin>, Handle) {
    let (client, handle) = client();
    let attempts = Arc::clone(attempts);
    let make = service_fn(move |()| {
        let attempt = attempts.fetch_add(1, Ordering::SeqCst);
        ready(if attempt == 0 { Err(Broken("refused".into())) } else { Ok(client.clone()) })
    });
    (make, handle)
}

/// `Reconnect` connects in `poll_ready`, which an open breaker does not call.
#[tokio::test(start_paused = true)]
async fn a_reconnect_below_fails_its_calls_and_does_not_connect_while_the_circuit_is_open() {
    let attempts = Arc::default();
    let (make, mut handle) = connecting(&attempts);
    let layer = builder().reject_with(RejectAsBoxError).build().unwrap();
    let mut service = layer.layer(Reconnect::new(make, ()));
    let refused: BoxError = call_at_once(&mut service).unwrap_err();
    assert_eq!(refused.to_string(), "refused");
    assert_eq!(layer.breaker().state(), State::Open);
    for _ in 0..5 {
        assert_rejected(call_at_once(&mut service));
    }
    assert_eq!(attempts.load(Ordering::SeqCst), 1);

    tokio::time::advance(OPEN_TIME).await;
    assert_ready_ok!(poll_ready(&mut service));
    let mut probe = task::spawn(service.call(1));
    answer(&mut handle, 7);
    assert_eq!(assert_ready_ok!(probe.poll()), 7);
    assert_eq!(attempts.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_reconnect_above_retries_at_each_call_and_recovers_after_the_open_time() {
    let attempts = Arc::default();
    let (make, mut handle) = connecting(&attempts);
    let mut service = Reconnect::new(layer().layer(make), ());
    assert_eq!(call_at_once(&mut service).unwrap_err().to_string(), "refused");
    for _ in 0..5 {
        assert_rejected(call_at_once(&mut service));
    }
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
    tokio::time::advance(OPEN_TIME).await;
    assert_ready_ok!(poll_ready(&mut service));
    let mut call = task::spawn(service.call(1));
    answer(&mut handle, 7);
    assert_eq!(assert_ready!(call.poll()).unwrap(), 7);
    assert_eq!(attempts.load(Ordering::SeqCst), 2);
}
