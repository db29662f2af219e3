//! reqwest-middleware 0.5 with a breaker for each host.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use axum::{Router, routing::get as on_get};
use http::StatusCode;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware};
use tower_breaker::{
    KeyedBreakers, OnBodyEnd, Outcome, Rejected, State, Trip, Window,
    classify::ServerErrorsAsFailures, reqwest_middleware::KeyedBreakerMiddleware,
};

use super::wire::{Server, refusing_address};

fn server(status: StatusCode) -> (Server, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let answer = async move || {
        count.fetch_add(1, SeqCst);
        status
    };
    (Server::of(Router::new().route("/", on_get(answer))), calls)
}

fn client(middleware: impl Middleware) -> ClientWithMiddleware {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    ClientBuilder::new(client).with(middleware).build()
}

#[tokio::test]
async fn one_bad_host_of_three_does_not_shut_out_the_others() {
    let (bad, bad_calls) = server(StatusCode::INTERNAL_SERVER_ERROR);
    let good = [server(StatusCode::OK), server(StatusCode::OK)];
    let hosts = KeyedBreakers::builder("client").build().unwrap();
    let client = client(KeyedBreakerMiddleware::by_host(hosts.clone()));
    let mut rejected = 0;
    for _ in 0..40 {
        match client.get(bad.url("/")).send().await {
            Ok(response) => assert_eq!(response.status(), 500),
            Err(error) => {
                let rejection = Rejected::find(&error).unwrap();
                assert!(rejection.name().starts_with("client:127.0.0.1%3A"), "{rejection}");
                rejected += 1;
            }
        }
        for (server, _) in &good {
            assert_eq!(client.get(server.url("/")).send().await.unwrap().status(), 200);
        }
    }
    assert_eq!((bad_calls.load(SeqCst), rejected), (5, 35));
    assert!(good.iter().all(|(_, calls)| calls.load(SeqCst) == 40));
    assert_eq!(hosts.len(), 1, "a healthy host needs no breaker");
    assert_eq!(hosts.breakers()[0].state(), State::Open);
}

#[tokio::test]
async fn a_host_that_refuses_connections_has_its_own_breaker() {
    let (good, _) = server(StatusCode::OK);
    let hosts = KeyedBreakers::builder("client").build().unwrap();
    let client = client(KeyedBreakerMiddleware::by_host(hosts.clone()));
    let down = refusing_address();
    for round in 0..8 {
        let error = client.get(format!("http://{down}/")).send().await.unwrap_err();
        assert_eq!(Rejected::find(&error).is_some(), round >= 5, "{error}");
        assert_eq!(client.get(good.url("/")).send().await.unwrap().status(), 200);
    }
    assert_eq!(hosts.get(&down.to_string()).unwrap().state(), State::Open);
}

fn tenant(request: &reqwest::Request) -> Option<Cow<'_, str>> {
    Some(request.headers().get("tenant")?.to_str().ok()?.into())
}

#[tokio::test]
async fn keys_come_from_a_function_and_requests_without_one_pass_or_share_one() {
    let (bad, calls) = server(StatusCode::INTERNAL_SERVER_ERROR);
    for (default_key, expected) in [(None, 10), (Some("none"), 5)] {
        let tenants = KeyedBreakers::builder("tenants").build().unwrap();
        let mut middleware = KeyedBreakerMiddleware::by_key(tenants.clone(), tenant);
        if let Some(key) = default_key {
            middleware = middleware.default_key(key);
        }
        let client = client(middleware);
        calls.store(0, SeqCst);
        for _ in 0..10 {
            let _ = client.get(bad.url("/")).send().await;
        }
        assert_eq!(calls.load(SeqCst), expected);
        let mut answered = 0;
        for _ in 0..10 {
            let sent = client.get(bad.url("/")).header("tenant", "a").send().await;
            answered += u32::from(sent.is_ok());
        }
        assert_eq!(answered, 5);
        assert!(tenants.get("a").is_some());
    }
}

#[tokio::test]
async fn another_classifier_and_windows_hold_for_each_key() {
    let (server, _) = server(StatusCode::NOT_FOUND);
    let mut config = tower_breaker::Config::default();
    config.trip_on = vec![Trip::failure_rate(0.5, Window::calls(4)).minimum_calls(4)];
    let hosts = KeyedBreakers::builder("client").config(config).build().unwrap();
    let classify = |result: &Result<reqwest::Response, reqwest_middleware::Error>| match result {
        Ok(response) if response.status() == 404 => Outcome::failure(),
        _ => Outcome::Success,
    };
    let middleware = KeyedBreakerMiddleware::by_host(hosts.clone()).classify(classify);
    let client = client(middleware);
    assert_eq!(client.get(server.url("/")).send().await.unwrap().status(), 404);
    assert_eq!(hosts.breakers()[0].stats().window_failures(), 1);
    for _ in 0..3 {
        let _ = client.get(server.url("/")).send().await;
    }
    assert_eq!(hosts.breakers()[0].state(), State::Open);
}

/// Added to requests by their callers.
#[derive(Clone)]
struct MayFail;

/// With the default rule, a host has no breaker before its first failure. With a window, it has
/// one from its first call on.
#[tokio::test]
async fn a_classifier_made_from_the_request_holds_with_and_without_a_breaker_of_the_key() {
    let (server, calls) = server(StatusCode::INTERNAL_SERVER_ERROR);
    let windows = Trip::failure_rate(1.0, Window::calls(1000)).minimum_calls(1000);
    for (rule, had_before) in [(Trip::consecutive_failures(99), false), (windows, true)] {
        let mut config = tower_breaker::Config::default();
        config.trip_on = vec![rule];
        let hosts = KeyedBreakers::builder("client").config(config).build().unwrap();
        let middleware =
            KeyedBreakerMiddleware::by_host(hosts.clone()).classify_with(|request, extensions| {
                let may_fail = request.method() == "HEAD"
                    || request.url().query() == Some("probe")
                    || extensions.get::<MayFail>().is_some();
                move |_: &Result<reqwest::Response, reqwest_middleware::Error>| {
                    if may_fail { Outcome::Ignore } else { Outcome::failure() }
                }
            });
        let client = client(middleware.clone());
        calls.store(0, SeqCst);
        let get = |path| client.get(server.url(path));
        client.head(server.url("/")).send().await.unwrap();
        get("/?probe").send().await.unwrap();
        get("/").with_extension(MayFail).send().await.unwrap();
        assert_eq!(hosts.len(), usize::from(had_before));
        for failures in 1..=2 {
            get("/").send().await.unwrap();
            get("/").with_extension(MayFail).send().await.unwrap();
            assert_eq!(hosts.breakers()[0].stats().consecutive_failures(), failures);
        }
        assert_eq!(calls.load(SeqCst), 7);
    }
}

/// With the default rule, a host has no breaker before its first failure. With a window, it has
/// one from its first call on.
#[tokio::test]
async fn a_panic_of_the_classifier_is_one_failure_with_and_without_a_breaker_of_the_key() {
    let (server, _) = server(StatusCode::OK);
    let windows = Trip::failure_rate(1.0, Window::calls(1000)).minimum_calls(1000);
    for rule in [Trip::consecutive_failures(99), windows] {
        let mut config = tower_breaker::Config::default();
        config.trip_on = vec![rule];
        let hosts = KeyedBreakers::builder("client").config(config).build().unwrap();
        let classify = |_: &Result<reqwest::Response, reqwest_middleware::Error>| -> Outcome {
            panic!("a bug of the classifier")
        };
        let client = client(KeyedBreakerMiddleware::by_host(hosts.clone()).classify(classify));
        for failures in 1..=3 {
            let call = client.get(server.url("/")).send();
            tokio::spawn(call).await.expect_err("the panic propagates");
            assert_eq!(hosts.breakers()[0].stats().consecutive_failures(), failures);
        }
    }
}

#[tokio::test]
async fn no_classifier_is_made_for_a_request_that_is_rejected_or_exempt() {
    let (server, _) = server(StatusCode::INTERNAL_SERVER_ERROR);
    let hosts = KeyedBreakers::builder("client").build().unwrap();
    let made = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&made);
    let middleware = KeyedBreakerMiddleware::by_host(hosts.clone())
        .classify_with(move |_, _| {
            count.fetch_add(1, SeqCst);
            ServerErrorsAsFailures
        })
        .exempt(|request| request.method() == "HEAD");
    let client = client(middleware);
    for _ in 0..10 {
        client.head(server.url("/")).send().await.unwrap();
        let _ = client.get(server.url("/")).send().await;
    }
    assert_eq!((hosts.breakers()[0].state(), made.load(SeqCst)), (State::Open, 5));
}

#[tokio::test]
async fn a_truncated_body_is_a_failure_of_its_host() {
    let truncated = Server::that_says(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nnot all");
    let hosts = KeyedBreakers::builder("client").build().unwrap();
    let middleware = KeyedBreakerMiddleware::by_host(hosts.clone()).on_body_end(OnBodyEnd::new());
    let client = client(middleware);
    for _ in 0..5 {
        client.get(truncated.url("/")).send().await.unwrap().bytes().await.unwrap_err();
    }
    let error = client.get(truncated.url("/")).send().await.unwrap_err();
    assert!(Rejected::find(&error).is_some());
}

#[tokio::test]
async fn exempt_requests_are_neither_recorded_nor_rejected() {
    let (server, calls) = server(StatusCode::INTERNAL_SERVER_ERROR);
    let hosts = KeyedBreakers::builder("client").build().unwrap();
    let middleware = KeyedBreakerMiddleware::by_host(hosts.clone())
        .exempt(|request: &reqwest::Request| request.url().query() == Some("health"));
    let client = client(middleware);
    for _ in 0..10 {
        assert_eq!(client.get(server.url("/?health")).send().await.unwrap().status(), 500);
    }
    assert!(hosts.is_empty());
    for _ in 0..10 {
        let _ = client.get(server.url("/")).send().await;
    }
    assert_eq!(hosts.breakers()[0].state(), State::Open);
    assert_eq!(client.get(server.url("/?health")).send().await.unwrap().status(), 500);
    assert_eq!(calls.load(SeqCst), 16);
}
