use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{
    BoxError, Layer, Service,
    load_shed::{LoadShed, error::Overloaded},
};
use tower_breaker::{Error, Outcome, State};

use super::*;

#[track_caller]
fn assert_overloaded(result: Result<u32, BoxError>) {
    let error = result.expect_err("no error");
    assert!(error.is::<Overloaded>(), "not overloaded: {error}");
}

#[tokio::test(start_paused = true)]
async fn above_a_rejection_is_not_an_overload() {
    let (service, mut handle, breaker) = guarded();
    handle.allow(0);
    let mut shed = LoadShed::new(service);
    assert_overloaded(call_at_once(&mut shed));
    trip(&breaker);
    assert_rejected(call_at_once(&mut shed));
    assert_rejected(call_at_once(&mut shed.clone()));
    breaker.reset();
    assert_overloaded(call_at_once(&mut shed));
    handle.allow(1);
    assert_ready_ok!(poll_ready(&mut shed));
    let mut call = task::spawn(shed.call(1));
    answer(&mut handle, 7);
    assert_eq!(assert_ready_ok!(call.poll()), 7);
}

#[tokio::test(start_paused = true)]
async fn above_the_breaker_does_not_see_shed_calls() {
    let (service, mut handle, breaker) = guarded();
    handle.allow(0);
    let mut shed = LoadShed::new(service);
    for _ in 0..10 {
        assert_overloaded(call_at_once(&mut shed));
    }
    assert_eq!((breaker.state(), breaker.stats().consecutive_failures()), (State::Closed, 0));

    trip(&breaker);
    tokio::time::advance(OPEN_TIME).await;
    assert_overloaded(call_at_once(&mut shed));
    assert_eq!(breaker.state(), State::HalfOpen);
    breaker.try_acquire().expect("a free slot").success();
}

#[tokio::test(start_paused = true)]
async fn below_an_overload_is_a_failure() {
    let (client, mut handle) = client();
    handle.allow(0);
    let mut service = layer().layer(LoadShed::new(client));
    let breaker = service.breaker().clone();
    assert_ready_ok!(poll_ready(&mut service));
    let error = assert_ready_err!(poll_once(service.call(1))).into_inner().unwrap();
    assert_overloaded(Err(error));
    assert_eq!(breaker.state(), State::Open);
    assert_ready_ok!(poll_ready(&mut service));
    assert!(matches!(assert_ready!(poll_once(service.call(1))), Err(Error::Rejected(_))));
}

#[tokio::test(start_paused = true)]
async fn below_a_classifier_can_recognise_an_overload() {
    let (client, mut handle) = client();
    handle.allow(0);
    let layer = builder()
        .classify(|result: &Result<u32, BoxError>| match result {
            Ok(_) => Outcome::Success,
            Err(error) if error.is::<Overloaded>() => Outcome::Ignore,
            Err(_) => Outcome::failure(),
        })
        .build()
        .unwrap();
    let mut service = layer.layer(LoadShed::new(client));
    for _ in 0..10 {
        assert_ready_ok!(poll_ready(&mut service));
        assert_overloaded(
            assert_ready!(poll_once(service.call(1))).map_err(|error| error.into_inner().unwrap()),
        );
    }
    assert_eq!(layer.breaker().state(), State::Closed);
    handle.allow(1);
    assert_ready_ok!(poll_ready(&mut service));
    let mut call = task::spawn(service.call(1));
    assert_pending!(call.poll());
    fail(&mut handle);
    assert_ready_err!(call.poll());
    assert_eq!(layer.breaker().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_readiness_error_of_the_client_is_passed_on_on_both_sides() {
    let (service, mut handle, breaker) = guarded();
    handle.send_error("gone");
    let error = assert_ready_err!(poll_ready(&mut LoadShed::new(service)));
    assert_eq!(error.to_string(), "gone");
    assert_eq!(breaker.stats().consecutive_failures(), 0);

    let (client, mut handle) = client();
    handle.send_error("gone");
    let mut service = layer().layer(LoadShed::new(client));
    let error = assert_ready_err!(poll_ready(&mut service));
    assert_eq!(error.into_inner().unwrap().to_string(), "gone");
    assert_eq!(service.breaker().stats().consecutive_failures(), 0);
}
