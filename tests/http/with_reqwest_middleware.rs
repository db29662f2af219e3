//! reqwest-middleware 0.5.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use axum::{Router, routing::get as on_get};
use http::StatusCode;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error};
use tower_breaker::{
    Breaker, Outcome, Rejected, State, Trip, classify::StatusClassifier, clock::ManualClock,
    reqwest_middleware::BreakerMiddleware,
};

use crate::support::wait::eventually_async;

use super::{
    OPEN_TIME, make_half_open,
    wire::{Server, refusing_address},
};

/// Counts requests, and fails each.
fn failing() -> (Server, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let answer = async move || {
        count.fetch_add(1, Ordering::Relaxed);
        StatusCode::INTERNAL_SERVER_ERROR
    };
    (Server::of(Router::new().route("/", on_get(answer))), calls)
}

fn breaker() -> (Breaker, ManualClock) {
    let clock = ManualClock::new();
    let breaker = Breaker::builder("middleware")
        .trip_on(Trip::consecutive_failures(1))
        .recovery_timeout(OPEN_TIME)
        .clock(clock.clone())
        .build()
        .unwrap();
    (breaker, clock)
}

fn client<C>(middleware: BreakerMiddleware<C>) -> ClientWithMiddleware
where
    BreakerMiddleware<C>: reqwest_middleware::Middleware,
{
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    ClientBuilder::new(client).with(middleware).build()
}

#[tokio::test]
async fn a_rejection_is_found_in_the_error_and_the_request_is_not_sent() {
    let (server, calls) = failing();
    let (breaker, _) = breaker();
    let client = client(BreakerMiddleware::new(breaker.clone()));
    assert_eq!(client.get(server.url("/")).send().await.unwrap().status(), 500);
    assert_eq!(breaker.state(), State::Open);
    let error = client.get(server.url("/")).send().await.unwrap_err();
    assert!(matches!(error, Error::Middleware(_)));
    assert_eq!(Rejected::find(&error).unwrap().retry_after(), Some(OPEN_TIME));
    assert_eq!(error.to_string(), "circuit breaker \"middleware\" is open for another 60.0s");
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_error_is_a_failure_and_is_passed_on_unchanged() {
    let (breaker, _) = breaker();
    let client = client(BreakerMiddleware::new(breaker.clone()));
    let error = client.get(format!("http://{}/", refusing_address())).send().await.unwrap_err();
    assert!(matches!(&error, Error::Reqwest(error) if error.is_connect()));
    assert!(Rejected::find(&error).is_none());
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test]
async fn another_classifier_can_decide_otherwise() {
    let (server, calls) = failing();
    let (breaker, _) = breaker();
    let by_status = BreakerMiddleware::new(breaker.clone())
        .classify(StatusClassifier::new().success(StatusCode::INTERNAL_SERVER_ERROR));
    assert_eq!(by_status.breaker().name(), "middleware");
    client(by_status).get(server.url("/")).send().await.unwrap();
    assert_eq!(breaker.state(), State::Closed);
    let by_closure = BreakerMiddleware::new(breaker.clone())
        .classify(|_: &Result<reqwest::Response, Error>| Outcome::failure());
    client(by_closure).get(server.url("/")).send().await.unwrap();
    assert_eq!((breaker.state(), calls.load(Ordering::Relaxed)), (State::Open, 2));
}

#[tokio::test]
async fn an_abandoned_request_is_cancelled_and_releases_the_probes_slot() {
    let silent = on_get(async || std::future::pending::<()>().await);
    let server = Server::of(Router::new().route("/", silent));
    let (breaker, clock) = breaker();
    make_half_open(&breaker, &clock);
    let client = client(BreakerMiddleware::new(breaker.clone()));
    let call = tokio::spawn(client.get(server.url("/")).send());
    eventually_async("the probe is out", || breaker.try_acquire().is_err()).await;
    call.abort();
    eventually_async("the slot is released", || breaker.try_acquire().is_ok()).await;
    assert_eq!(breaker.state(), State::HalfOpen);
}
