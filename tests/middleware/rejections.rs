//! The forms of a rejection: errors, responses and fallbacks.
#![cfg(feature = "http")]

use std::{convert::Infallible, time::Duration};

use http::{
    Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyExt, Full};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{
    CircuitBreakerLayer, OnBodyEnd, Rejected, State,
    clock::ManualClock,
    reject::{RejectAsEmptyResponse, RespondWith},
};
use tower_test::mock;

type Body = Full<bytes::Bytes>;

fn succeeds()
-> impl Service<(), Response = Response<Body>, Error = Infallible, Future: Send> + Clone {
    service_fn(|()| async { Ok(Response::new(Body::from("fine"))) })
}

#[tokio::test]
async fn a_rejection_is_a_503_with_retry_after_and_problem_details() {
    let clock = ManualClock::new();
    let layer =
        CircuitBreakerLayer::builder("payments").clock(clock.clone()).http().build().unwrap();
    for _ in 0..5 {
        layer.breaker().try_acquire().unwrap().failure();
    }
    clock.advance(Duration::from_millis(29_500));
    let response = layer.layer(succeeds()).oneshot(()).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[RETRY_AFTER], "31");
    assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    let rejected = response.extensions().get::<Rejected>().expect("a rejection");
    assert_eq!((rejected.name(), rejected.state()), ("payments", State::Open));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&problem["status"], &problem["retry_after"]), (&503.into(), &31.into()));
    assert!(!String::from_utf8_lossy(&body).contains("payments"));
}

#[tokio::test]
async fn a_rejection_that_is_an_error_becomes_the_same_response() {
    let layer =
        CircuitBreakerLayer::builder("payments").clock(ManualClock::new()).http().build().unwrap();
    let cases = [None, Some(1), Some(29_500), Some(60_000)];
    for millis in cases {
        match millis {
            None => layer.breaker().force_open(),
            Some(millis) => layer.breaker().force_open_for(Duration::from_millis(millis)),
        }
        let rejected = layer.breaker().try_acquire().unwrap_err();
        let seconds = rejected.retry_after_seconds();
        assert_eq!(seconds, millis.unwrap_or(1).div_ceil(1000));
        let response: Response<Body> = rejected.to_response();
        assert_eq!(response.extensions().get(), Some(&rejected));
        let expected = layer.layer(succeeds()).oneshot(()).await.unwrap();
        assert_eq!(response.status(), expected.status());
        assert_eq!(response.headers(), expected.headers());
        assert_eq!(response.headers()[RETRY_AFTER], seconds.to_string());
        let collect = async |body: Body| body.collect().await.unwrap().to_bytes();
        let bodies = [collect(response.into_body()).await, collect(expected.into_body()).await];
        assert_eq!(bodies[0], bodies[1]);
    }
}

#[tokio::test]
async fn a_rejection_can_be_an_empty_or_a_custom_response() {
    let builder = || CircuitBreakerLayer::builder("payments").http();
    let empty = builder().reject_with(RejectAsEmptyResponse).build().unwrap();
    empty.breaker().force_open();
    let response = empty.layer(succeeds()).oneshot(()).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[RETRY_AFTER], "1");
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());

    let own = builder()
        .reject_with(RespondWith(|rejected: &Rejected| {
            Response::builder()
                .status(StatusCode::IM_A_TEAPOT)
                .body(Body::from(rejected.name().to_owned()))
                .unwrap()
        }))
        .build()
        .unwrap();
    own.breaker().force_open();
    let response = own.layer(succeeds()).oneshot(()).await.unwrap();
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    assert!(response.extensions().get::<Rejected>().is_some());
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "payments");
}

#[tokio::test]
async fn a_rejection_is_a_response_too_if_bodies_are_watched() {
    let layer = CircuitBreakerLayer::builder("payments")
        .on_body_end(OnBodyEnd::new())
        .http()
        .build()
        .unwrap();
    layer.breaker().force_open();
    let response = layer.layer(succeeds()).oneshot(()).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!response.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test]
async fn a_fallback_receives_the_request_and_the_rejection() {
    let layer = CircuitBreakerLayer::builder("quotes")
        .fallback(|symbol: &'static str, rejected: Rejected| async move {
            if symbol == "NONE" { Err("no price") } else { Ok(format!("{symbol}, {rejected}")) }
        })
        .build()
        .unwrap();
    let quotes = |symbol| {
        let service = service_fn(|symbol: &'static str| async move { Ok(symbol.to_owned()) });
        layer.layer(service).oneshot(symbol)
    };
    assert_eq!(quotes("ABC").await.unwrap(), "ABC");
    layer.breaker().force_open();
    assert_eq!(quotes("ABC").await.unwrap(), "ABC, circuit breaker \"quotes\" is forced open");
    assert_eq!(quotes("NONE").await.unwrap_err(), "no price");
}

#[test]
fn a_fallback_service_is_polled_ready_before_it_is_called() {
    let (fallback, mut asked) = mock::pair::<&'static str, &'static str>();
    let (inner, _handle) = mock::pair::<&'static str, &'static str>();
    asked.allow(0);
    let layer = CircuitBreakerLayer::builder("quotes").fallback_service(fallback).build().unwrap();
    layer.breaker().force_open();
    let mut service = mock::Spawn::new(layer.layer(inner));
    assert_ready_ok!(service.poll_ready());
    let mut call = task::spawn(service.call("ABC"));
    assert_pending!(call.poll());
    asked.allow(1);
    assert!(call.is_woken());
    assert_pending!(call.poll());
    let (request, respond) =
        assert_ready_some(&mut task::spawn(async { asked.next_request().await }));
    assert_eq!(request, "ABC");
    respond.send_response("yesterday's");
    assert_eq!(assert_ready_ok!(call.poll()), "yesterday's");
}

fn assert_ready_some<T, F: Future<Output = Option<T>>>(task: &mut task::Spawn<F>) -> T {
    match task.poll() {
        std::task::Poll::Ready(Some(value)) => value,
        _ => panic!("no request"),
    }
}

#[test]
fn the_errors_of_a_fallback_service_are_passed_on() {
    let (fallback, mut asked) = mock::pair::<(), ()>();
    let (inner, _handle) = mock::pair::<(), ()>();
    asked.send_error("broken, too");
    let layer = CircuitBreakerLayer::builder("quotes").fallback_service(fallback).build().unwrap();
    layer.breaker().force_open();
    let mut service = mock::Spawn::new(layer.layer(inner));
    assert_ready_ok!(service.poll_ready());
    let error = assert_ready_err!(task::spawn(service.call(())).poll());
    assert_eq!(error.to_string(), "broken, too");
}
