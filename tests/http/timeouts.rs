//! A dependency that hangs, with a timeout below the breaker.

use std::{future::pending, time::Duration};

use axum::{Router, routing::get as on_get};
use http::StatusCode;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn, timeout::TimeoutLayer};
use tower_breaker::{
    CircuitBreakerLayer, OnBodyEnd, State, Trip, classify::ServerErrorsAsFailures,
};
use tower_http::timeout::TimeoutLayer as HttpTimeoutLayer;

use super::wire::{Http1, Http2, Server, get};

const SHORT: Duration = Duration::from_millis(20);

fn hangs() -> axum::routing::MethodRouter {
    on_get(async || pending::<()>().await)
}

#[tokio::test]
async fn timeouts_of_tower_http_below_open_the_circuit() {
    for status in [StatusCode::REQUEST_TIMEOUT, StatusCode::GATEWAY_TIMEOUT] {
        for version in [Http1, Http2] {
            let layer = CircuitBreakerLayer::builder("hung").http().build().unwrap();
            let breaker = layer.breaker().clone();
            let timeout = HttpTimeoutLayer::with_status_code(status, SHORT);
            let both = ServiceBuilder::new().layer(layer).layer(timeout);
            let server = Server::of(Router::new().route("/", hangs().layer(both)));
            for call in 0..20 {
                let expected = if call < 5 { status } else { StatusCode::SERVICE_UNAVAILABLE };
                assert_eq!(get(version, &server.url("/")).await.status(), expected, "{call}");
            }
            assert_eq!(breaker.state(), State::Open);
        }
    }
}

#[tokio::test]
async fn timeouts_of_a_reqwest_client_open_the_circuit() {
    let server = Server::of(Router::new().route("/", hangs()));
    let layer = CircuitBreakerLayer::builder("hung")
        .trip_on(Trip::consecutive_failures(2))
        .classify(ServerErrorsAsFailures)
        .build()
        .unwrap();
    let client = reqwest::Client::builder().no_proxy().timeout(SHORT).build().unwrap();
    let mut client = layer.layer(client);
    for _ in 0..2 {
        let request = reqwest::Request::new(http::Method::GET, server.url("/").parse().unwrap());
        let error = client.ready().await.unwrap().call(request).await.unwrap_err();
        let error = error.into_inner().unwrap();
        assert!(error.is_timeout());
        assert!(tower_breaker::retry::is_transient(&error), "a retry policy agrees");
    }
    assert_eq!(layer.breaker().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn timeouts_of_tower_below_open_the_circuit() {
    let layer = CircuitBreakerLayer::builder("hung")
        .trip_on(Trip::consecutive_failures(2))
        .classify(ServerErrorsAsFailures)
        .on_body_end(OnBodyEnd::new())
        .build()
        .unwrap();
    let breaker = layer.breaker().clone();
    let hangs = service_fn(|(): ()| pending::<Result<http::Response<String>, std::io::Error>>());
    let mut service =
        ServiceBuilder::new().layer(layer).layer(TimeoutLayer::new(SHORT)).service(hangs);
    for _ in 0..2 {
        service.ready().await.unwrap().call(()).await.unwrap_err();
    }
    assert_eq!(breaker.state(), State::Open);
}
