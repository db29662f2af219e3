//! reqwest 0.13: its client as a tower service, and its connector.

use std::time::Duration;

use axum::{Router, routing::get as on_get};
use http::{StatusCode, header::RETRY_AFTER};
use http_body_util::BodyExt;
use reqwest::{Client, Request, Response};
use tower::{Layer, Service, ServiceExt};
use tower_breaker::{
    Backoff, CircuitBreakerLayer, Error, OnBodyEnd, Outcome, Rejected, State, Trip, Window,
    classify::{Classify, ServerErrorsAsFailures, StatusClassifier},
    reject::RejectAsBoxError,
};

use super::wire::{Server, refusing_address};

fn get(url: &str) -> Request {
    Request::new(reqwest::Method::GET, url.parse().unwrap())
}

/// A client that ignores proxy settings.
fn local() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

/// Responds to `/<status>` with that status, and with a `Retry-After` of two minutes where the
/// status allows it.
fn upstream() -> Server {
    let answer = async |axum::extract::Path(status): axum::extract::Path<u16>| {
        (StatusCode::from_u16(status).unwrap(), [(RETRY_AFTER, "120")])
    };
    Server::of(Router::new().route("/{status}", on_get(answer)))
}

#[tokio::test]
async fn a_client_behind_a_breaker_is_rejected_after_failures_without_a_request() {
    let upstream = upstream();
    let layer = CircuitBreakerLayer::builder("reqwest")
        .trip_on(Trip::consecutive_failures(3))
        .backoff(Backoff::default())
        .classify(ServerErrorsAsFailures)
        .build()
        .unwrap();
    let mut client = layer.layer(local());
    let mut ask = async |path| client.ready().await?.call(get(&upstream.url(path))).await;
    assert_eq!(ask("/200").await.unwrap().status(), 200);
    for path in ["/500", "/502", "/503"] {
        assert!(ask(path).await.unwrap().status().is_server_error());
    }
    let error = ask("/200").await.unwrap_err();
    let left = error.rejected().unwrap().retry_after().unwrap();
    // The last response asked for more than the default of one minute.
    assert!(left > Duration::from_secs(100), "{left:?}");
    assert_eq!(layer.breaker().state(), State::Open);
}

#[tokio::test]
async fn a_refused_connection_is_a_failure() {
    let layer = CircuitBreakerLayer::builder("reqwest")
        .trip_on(Trip::consecutive_failures(1))
        .classify(StatusClassifier::new())
        .build()
        .unwrap();
    let client = local();
    let mut client = layer.layer(&client);
    let url = format!("http://{}/", refusing_address());
    let error: Error<_> = client.ready().await.unwrap().call(get(&url)).await.unwrap_err();
    assert!(error.into_inner().unwrap().is_connect());
    assert_eq!(layer.breaker().state(), State::Open);
}

#[tokio::test]
async fn a_response_is_classified_by_its_status_and_headers() {
    let upstream = upstream();
    let statuses = StatusClassifier::new().ignore(404..=404);
    let two_minutes = Some(Duration::from_secs(120));
    let cases = [
        ("/200", Outcome::Success, Outcome::Success),
        ("/404", Outcome::Success, Outcome::Ignore),
        ("/408", Outcome::failure(), Outcome::failure()),
        (
            "/429",
            Outcome::throttled().with_retry_after(two_minutes),
            Outcome::throttled().with_retry_after(two_minutes),
        ),
        ("/500", Outcome::failure(), Outcome::failure()),
        (
            "/503",
            Outcome::failure().with_retry_after(two_minutes),
            Outcome::failure().with_retry_after(two_minutes),
        ),
    ];
    for (path, by_default, by_status) in cases {
        let result = local().execute(get(&upstream.url(path))).await;
        assert_eq!(ServerErrorsAsFailures.classify(&result), by_default, "{path}");
        assert_eq!(statuses.classify(&result), by_status, "{path}");
    }
    let refused: reqwest::Result<Response> =
        local().execute(get(&format!("http://{}/", refusing_address()))).await;
    assert_eq!(ServerErrorsAsFailures.classify(&refused), Outcome::failure());
    assert_eq!(statuses.classify(&refused), Outcome::failure());
}

/// reqwest's response is converted into one of `http`, whose body can be watched.
#[tokio::test]
async fn a_truncated_body_is_a_failure_if_bodies_are_watched() {
    let fine = Server::of(Router::new().route("/", on_get(async || "fine")));
    let breaking = Server::that_says(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf ");
    let layer = CircuitBreakerLayer::builder("reqwest")
        .trip_on(Trip::consecutive_failures(1))
        .classify(ServerErrorsAsFailures)
        .on_body_end(OnBodyEnd::new())
        .build()
        .unwrap();
    let client = local().map_response(http::Response::<reqwest::Body>::from);
    let mut client = layer.layer(client);
    let response = client.ready().await.unwrap().call(get(&fine.url("/"))).await.unwrap();
    assert_eq!(response.collect().await.unwrap().to_bytes(), "fine");
    let response = client.ready().await.unwrap().call(get(&breaking.url("/"))).await.unwrap();
    assert_eq!(layer.breaker().state(), State::Closed);
    response.collect().await.unwrap_err();
    assert_eq!(layer.breaker().state(), State::Open);
}

/// Without a conversion: the layer takes the responses of reqwest as they are.
#[tokio::test]
async fn each_of_twenty_truncated_bodies_is_a_failure() {
    let breaking =
        Server::that_says(b"HTTP/1.1 200 OK\r\nx-kept: yes\r\ncontent-length: 10\r\n\r\nhalf ");
    let layer = CircuitBreakerLayer::builder("reqwest")
        .trip_on(Trip::failure_rate(1.0, Window::calls(1000)).minimum_calls(1000))
        .classify(ServerErrorsAsFailures)
        .on_body_end(OnBodyEnd::new())
        .build()
        .unwrap();
    let mut client = layer.layer(local());
    for failures in 0..20 {
        assert_eq!(layer.breaker().stats().window_failures(), failures);
        let url = breaking.url("/path?query");
        let response = client.ready().await.unwrap().call(get(&url)).await.unwrap();
        // Only the body of the response has changed.
        assert_eq!((response.status(), response.url().as_str()), (StatusCode::OK, &*url));
        assert_eq!(response.headers()["x-kept"], "yes");
        assert_eq!(response.content_length(), Some(10));
        assert_eq!(response.remote_addr(), Some(breaking.address));
        assert_eq!(response.version(), http::Version::HTTP_11);
        response.bytes().await.unwrap_err();
    }
    assert_eq!(layer.breaker().stats().window_failures(), 20);
}

#[tokio::test]
async fn a_body_of_reqwest_that_ends_is_a_success_and_one_that_is_dropped_is_cancelled() {
    let fine = Server::of(
        Router::new()
            .route("/", on_get(async || "fine"))
            .route("/bad", on_get(async || (StatusCode::BAD_GATEWAY, "bad"))),
    );
    let layer = CircuitBreakerLayer::builder("reqwest")
        .trip_on(Trip::failure_rate(1.0, Window::calls(1000)).minimum_calls(1000))
        .classify(|result: &Result<Response, reqwest::Error>| match result {
            Ok(response) if response.status().is_success() => Outcome::Success,
            _ => Outcome::failure(),
        })
        .on_body_end(OnBodyEnd::new())
        .build()
        .unwrap();
    let mut client = layer.layer(local());
    let mut ask = async |path| client.ready().await.unwrap().call(get(&fine.url(path))).await;
    assert_eq!(ask("/bad").await.unwrap().text().await.unwrap(), "bad");
    assert_eq!(layer.breaker().stats().window_calls(), 1);
    drop(ask("/").await.unwrap());
    assert_eq!(layer.breaker().stats().window_calls(), 1);
    assert_eq!(ask("/").await.unwrap().text().await.unwrap(), "fine");
    assert_eq!(layer.breaker().stats().window_calls(), 2);
    assert_eq!(layer.breaker().stats().window_failures(), 1);
}

#[tokio::test]
async fn a_breaker_around_the_connector_counts_connections() {
    let layer = CircuitBreakerLayer::builder("connections")
        .trip_on(Trip::consecutive_failures(2))
        .reject_with(RejectAsBoxError)
        .build()
        .unwrap();
    let breaker = layer.breaker().clone();
    let client = Client::builder().no_proxy().connector_layer(layer).build().unwrap();
    let url = format!("http://{}/", refusing_address());
    for _ in 0..2 {
        let error = client.execute(get(&url)).await.unwrap_err();
        assert!(error.is_connect() && Rejected::find(&error).is_none());
    }
    assert_eq!(breaker.state(), State::Open);
    let error = client.execute(get(&url)).await.unwrap_err();
    assert!(error.is_connect());
    assert_eq!(Rejected::find(&error).unwrap().name(), "connections");
}

/// A failure on an existing connection is not a failure to connect.
#[tokio::test]
async fn a_breaker_around_the_connector_sees_no_requests() {
    let upstream = upstream();
    let layer = CircuitBreakerLayer::builder("connections")
        .trip_on(Trip::consecutive_failures(1))
        .reject_with(RejectAsBoxError)
        .build()
        .unwrap();
    let breaker = layer.breaker().clone();
    let client = Client::builder().no_proxy().connector_layer(layer).build().unwrap();
    let ask = async || {
        let response = client.execute(get(&upstream.url("/500"))).await.unwrap();
        let status = response.status();
        response.bytes().await.unwrap();
        status
    };
    assert_eq!(ask().await, 500);
    assert_eq!(breaker.state(), State::Closed);
    breaker.force_open();
    assert_eq!(ask().await, 500, "on the connection that is still open");
}
