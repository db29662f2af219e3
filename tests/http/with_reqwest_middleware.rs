//! reqwest-middleware 0.5.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use axum::{Router, routing::get as on_get};
use http::StatusCode;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error};
use tower_breaker::{
    Breaker, OnBodyEnd, Outcome, Rejected, State, Trip, Window,
    classify::{ServerErrorsAsFailures, StatusClassifier},
    clock::ManualClock,
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

fn client<C, O>(middleware: BreakerMiddleware<C, O>) -> ClientWithMiddleware
where
    BreakerMiddleware<C, O>: reqwest_middleware::Middleware,
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

/// Added to requests by their callers.
#[derive(Clone)]
struct MayFail;

#[tokio::test]
async fn a_classifier_made_from_the_request_sees_method_url_and_extensions() {
    let (server, calls) = failing();
    let breaker = Breaker::builder("middleware").trip_on(Trip::consecutive_failures(99));
    let breaker = breaker.build().unwrap();
    let middleware =
        BreakerMiddleware::new(breaker.clone()).classify_with(|request, extensions| {
            let may_fail = request.method() == "HEAD"
                || request.url().query() == Some("probe")
                || extensions.get::<MayFail>().is_some();
            move |_: &Result<reqwest::Response, Error>| {
                if may_fail { Outcome::Ignore } else { Outcome::failure() }
            }
        });
    let client = client(middleware.clone().exempt(|request| request.method() == "OPTIONS"));
    let get = |path| client.get(server.url(path));
    let requests = [
        (get("/"), 1),
        (client.head(server.url("/")), 1),
        (get("/?probe"), 1),
        (get("/").with_extension(MayFail), 1),
        (get("/?other"), 2),
    ];
    for (request, failures) in requests {
        assert_eq!(request.send().await.unwrap().status(), 500);
        assert_eq!(breaker.stats().consecutive_failures(), failures);
    }
    assert_eq!(calls.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn the_classifier_of_a_request_also_holds_to_the_end_of_its_body() {
    let truncated = Server::that_says(b"HTTP/1.1 503 Busy\r\ncontent-length: 10\r\n\r\nhalf ");
    let whole = Server::that_says(b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy");
    let breaker = Breaker::builder("middleware").trip_on(Trip::consecutive_failures(99));
    let breaker = breaker.build().unwrap();
    let middleware = BreakerMiddleware::new(breaker.clone()).classify_with(|request, _| {
        let classifier = StatusClassifier::new();
        match request.url().path() {
            "/busy" => classifier.success(StatusCode::SERVICE_UNAVAILABLE),
            _ => classifier,
        }
    });
    let client = client(middleware.on_body_end(OnBodyEnd::new()));
    for (url, failures) in [
        (whole.url("/"), 1),
        (truncated.url("/busy"), 2),
        (whole.url("/busy"), 0),
        (whole.url("/"), 1),
    ] {
        let _ = client.get(url).send().await.unwrap().bytes().await;
        assert_eq!(breaker.stats().consecutive_failures(), failures);
    }
}

#[tokio::test]
async fn no_classifier_is_made_for_a_request_that_is_rejected_or_exempt() {
    let (server, _) = failing();
    let (breaker, _) = breaker();
    let made = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&made);
    let middleware = BreakerMiddleware::new(breaker.clone())
        .classify_with(move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
            ServerErrorsAsFailures
        })
        .exempt(|request| request.method() == "HEAD");
    let client = client(middleware);
    client.head(server.url("/")).send().await.unwrap();
    assert_eq!(made.load(Ordering::Relaxed), 0);
    client.get(server.url("/")).send().await.unwrap();
    assert!(Rejected::find(&client.get(server.url("/")).send().await.unwrap_err()).is_some());
    assert_eq!(made.load(Ordering::Relaxed), 1);
}

/// The classifier is made before the request is sent, so nothing was called.
#[tokio::test]
async fn a_panic_of_the_closure_counts_as_nothing_and_gives_the_slot_back() {
    let (server, calls) = failing();
    let (breaker, clock) = breaker();
    make_half_open(&breaker, &clock);
    let middleware =
        BreakerMiddleware::new(breaker.clone()).classify_with(|_, _| -> ServerErrorsAsFailures {
            std::panic::resume_unwind(Box::new("a bug"))
        });
    let client = client(middleware);
    for _ in 0..3 {
        let call = tokio::spawn(client.get(server.url("/")).send());
        assert!(call.await.unwrap_err().is_panic());
        assert_eq!(breaker.state(), State::HalfOpen);
        assert!(breaker.try_acquire().is_ok(), "the slot is free");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 0);
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

#[tokio::test]
async fn each_of_twenty_truncated_bodies_is_a_failure_if_bodies_are_watched() {
    let breaking = Server::that_says(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf ");
    let breaker = Breaker::builder("middleware")
        .trip_on(Trip::failure_rate(1.0, Window::calls(1000)).minimum_calls(1000))
        .build()
        .unwrap();
    let client = client(BreakerMiddleware::new(breaker.clone()).on_body_end(OnBodyEnd::new()));
    for failures in 0..20 {
        assert_eq!(breaker.stats().window_failures(), failures);
        let response = client.get(breaking.url("/")).send().await.unwrap();
        assert_eq!(response.url().as_str(), breaking.url("/"));
        response.bytes().await.unwrap_err();
    }
    assert_eq!(breaker.stats().window_failures(), 20);
}

/// A middleware further in that panics: in its future, or before it returns one.
#[tokio::test]
async fn a_panic_further_in_is_a_failure() {
    #[derive(Clone, Copy)]
    enum Panics {
        AtOnce,
        InFuture,
    }
    impl reqwest_middleware::Middleware for Panics {
        fn handle<'me, 'extensions, 'next, 'call>(
            &'me self,
            _: reqwest::Request,
            _: &'extensions mut http::Extensions,
            _: reqwest_middleware::Next<'next>,
        ) -> std::pin::Pin<
            Box<dyn Future<Output = reqwest_middleware::Result<reqwest::Response>> + Send + 'call>,
        >
        where
            'me: 'call,
            'extensions: 'call,
            'next: 'call,
            Self: 'call,
        {
            if let Self::AtOnce = self {
                std::panic::resume_unwind(Box::new("a bug"));
            }
            Box::pin(async { std::panic::resume_unwind(Box::new("a bug")) })
        }
    }
    for panics in [Panics::AtOnce, Panics::InFuture] {
        let (breaker, _) = breaker();
        let client = ClientBuilder::new(reqwest::Client::builder().no_proxy().build().unwrap())
            .with(BreakerMiddleware::new(breaker.clone()))
            .with(panics)
            .build();
        let call = tokio::spawn(client.get("http://127.0.0.1:1/").send());
        assert!(call.await.unwrap_err().is_panic());
        assert_eq!(breaker.state(), State::Open);
    }
}

#[tokio::test]
async fn the_same_breaker_twice_counts_once() {
    let (server, calls) = failing();
    let breaker = Breaker::builder("twice").trip_on(Trip::consecutive_failures(5)).build().unwrap();
    let client = ClientBuilder::new(reqwest::Client::builder().no_proxy().build().unwrap())
        .with(BreakerMiddleware::new(breaker.clone()))
        .with(BreakerMiddleware::new(breaker.clone()).on_body_end(OnBodyEnd::new()))
        .build();
    for failures in 1..=5 {
        client.get(server.url("/")).send().await.unwrap();
        assert_eq!(breaker.stats().consecutive_failures(), failures);
    }
    assert_eq!((breaker.state(), calls.load(Ordering::Relaxed)), (State::Open, 5));
}

#[tokio::test]
async fn exempt_requests_are_neither_recorded_nor_rejected() {
    let (server, calls) = failing();
    let (breaker, _) = breaker();
    let is_health = |request: &reqwest::Request| request.url().query() == Some("health");
    let is_head = |request: &reqwest::Request| request.method() == "HEAD";
    let middleware = BreakerMiddleware::new(breaker.clone()).exempt(is_health).exempt(is_head);
    let client = client(middleware.on_body_end(OnBodyEnd::new()));
    for _ in 0..3 {
        assert_eq!(client.get(server.url("/?health")).send().await.unwrap().status(), 500);
        assert_eq!(client.head(server.url("/")).send().await.unwrap().status(), 500);
    }
    assert_eq!(breaker.state(), State::Closed);
    client.get(server.url("/")).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(client.get(server.url("/?health")).send().await.unwrap().status(), 500);
    assert!(Rejected::find(&client.get(server.url("/")).send().await.unwrap_err()).is_some());
    assert_eq!(calls.load(Ordering::Relaxed), 8);
}
