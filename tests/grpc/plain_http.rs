//! HTTP responses that do not come from a gRPC server, such as those of a proxy.

use std::{convert::Infallible, time::Duration};

use axum::{Router, body::Body, http::HeaderMap};
use http::StatusCode;
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tonic::transport::Endpoint;
use tower::ServiceBuilder;
use tower_breaker::{
    Backoff, State,
    classify::{GrpcClassifier, GrpcCode},
};

use crate::{
    client::{Client, UNARY},
    recorded, touchy, watching,
};

/// Answers every request with this status and a page, until the runtime of the test ends.
async fn front(status: u16, headers: &[(&'static str, &'static str)]) -> Endpoint {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    let status = StatusCode::from_u16(status).unwrap();
    let page = move || async move { (status, headers, "<html>No upstream.</html>") };
    serve(Router::new().fallback(page)).await
}

async fn serve(router: Router) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Endpoint::from_shared(format!("http://{address}")).unwrap()
}

#[tokio::test]
async fn an_http_status_maps_to_a_grpc_code() {
    // As in the specification, but for 400, 413, 429 and 431: see `GrpcClassifier`.
    let cases = [
        (200, 2),
        (302, 2),
        (400, 3),
        (401, 16),
        (403, 7),
        (404, 12),
        (405, 2),
        (408, 2),
        (413, 3),
        (418, 2),
        (429, 8),
        (431, 3),
        (500, 2),
        (502, 14),
        (503, 14),
        (504, 14),
    ];
    for (status, code) in cases {
        let endpoint = front(status, &[]).await;
        // For this breaker, only that code is a failure.
        let all: Vec<_> = (0..=16).filter_map(GrpcCode::from_number).collect();
        let this = GrpcCode::from_number(code).unwrap();
        let codes = GrpcClassifier::new().success(all.as_slice()).failure(this);
        let layer = watching().grpc().classify(codes).build().unwrap();
        let breaker = layer.breaker().clone();
        let client =
            Client::new(ServiceBuilder::new().layer(layer).service(endpoint.connect_lazy()));
        client.unary(UNARY, "fine").await.unwrap_err();
        assert_eq!(recorded(&breaker), "f", "{status} should be {this}");
    }
}

#[tokio::test]
async fn an_endless_page_is_a_failure_at_once() {
    let page = || async {
        let begin = tokio_stream::once(Ok::<_, Infallible>("<html>"));
        let body = Body::from_stream(begin.chain(tokio_stream::pending()));
        ([("content-type", "text/html")], body)
    };
    let endpoint = serve(Router::new().fallback(page)).await;
    let layer = watching().grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let client = Client::new(ServiceBuilder::new().layer(layer).service(endpoint.connect_lazy()));
    client.unary(UNARY, "fine").await.unwrap_err();
    assert_eq!(recorded(&breaker), "f");
}

#[tokio::test]
async fn a_503_opens_the_circuit_for_the_time_of_its_retry_after() {
    let cases = [
        (vec![("retry-after", "120")], 120),
        (vec![("retry-after", "120"), ("grpc-retry-pushback-ms", "90000")], 90),
        (vec![("retry-after", "120"), ("grpc-retry-pushback-ms", "-1")], 60),
        (vec![("content-type", "text/html")], 60),
    ];
    for (headers, seconds) in cases {
        let endpoint = front(503, &headers).await;
        let backoff = Backoff::new(2.0, Duration::from_secs(600));
        let layer = touchy().0.backoff(backoff).grpc().build().unwrap();
        let breaker = layer.breaker().clone();
        let client =
            Client::new(ServiceBuilder::new().layer(layer).service(endpoint.connect_lazy()));
        client.unary(UNARY, "fine").await.unwrap_err();
        assert_eq!(breaker.state(), State::Open);
        let left = breaker.try_acquire().unwrap_err().retry_after();
        assert_eq!(left, Some(Duration::from_secs(seconds)), "{headers:?}");
    }
}

#[tokio::test]
async fn the_http_status_takes_precedence_over_a_grpc_status() {
    let cases =
        [(503, "5", "f"), (503, "0", "f"), (404, "14", "f"), (404, "5", "."), (404, "0", ".")];
    for (status, code, expected) in cases {
        let endpoint = front(status, &[("grpc-status", code)]).await;
        let layer = watching().grpc().build().unwrap();
        let breaker = layer.breaker().clone();
        let service = ServiceBuilder::new().layer(layer).service(endpoint.connect_lazy());
        let _ = Client::new(service).unary(UNARY, "fine").await;
        assert_eq!(recorded(&breaker), expected, "{status} with {code}");
    }
}
