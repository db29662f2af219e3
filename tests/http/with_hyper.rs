//! hyper 1 with hyper-util: its server through `TowerToHyperService`, and its client.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{
    CircuitBreaker, CircuitBreakerLayer, Error, OnBodyEnd, Rejected, State, Trip,
    classify::{ServerErrorsAsFailures, StatusClassifier},
    clock::ManualClock,
    reject::RejectAsError,
};

use crate::support::wait::eventually_async;

use super::{
    OPEN_TIME,
    bodies::{broken, prepared},
    make_half_open,
    wire::{Http1, Http2, HttpClient, Server, client, get, listen, refusing_address, request},
};

/// Serves a clone of the service on each connection, as is usual with hyper.
fn serve<S, B>(service: S) -> Server
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes, Error: Into<tower::BoxError>> + Send + 'static,
{
    let (listener, address) = listen();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Server::task(address, task)
}

#[tokio::test]
async fn a_server_behind_a_breaker_rejects_after_the_service_has_failed() {
    for version in [Http1, Http2] {
        let layer = CircuitBreakerLayer::builder("hyper")
            .trip_on(Trip::consecutive_failures(2))
            .http()
            .on_body_end(OnBodyEnd::new())
            .build()
            .unwrap();
        let failing = service_fn(async |_: Request<Incoming>| {
            let mut response = Response::new(Full::new(Bytes::from_static(b"sorry")));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            Ok(response)
        });
        // `Full<Bytes>` is `From<String>`, so that a rejection can have a body.
        let server = serve(layer.layer(failing));
        for status in [500, 500, 503, 503] {
            assert_eq!(get(version, &server.url("/")).await.status(), status, "{version:?}");
        }
        let rejection = get(version, &server.url("/")).await;
        assert_eq!(rejection.headers()["content-type"], "application/problem+json");
        assert_eq!(layer.breaker().state(), State::Open);
    }
}

#[tokio::test]
async fn a_server_whose_body_fails_opens_the_circuit() {
    for version in [Http1, Http2] {
        let layer = CircuitBreakerLayer::builder("hyper")
            .trip_on(Trip::consecutive_failures(1))
            .classify(ServerErrorsAsFailures)
            .reject_with(tower_breaker::reject::RespondWith(|_: &Rejected| {
                Response::new(prepared([]))
            }))
            .on_body_end(OnBodyEnd::new())
            .build()
            .unwrap();
        let breaking = service_fn(async |_: Request<Incoming>| {
            Ok(Response::new(prepared([Ok("half "), broken()])))
        });
        let server = serve(layer.layer(breaking));
        // The error may overtake the head.
        let answer = client(version).request(request(Method::GET, &server.url("/"))).await;
        if let Ok(response) = answer {
            response.collect().await.unwrap_err();
        }
        eventually_async("the circuit opens", || layer.breaker().state() == State::Open).await;
        assert!(get(version, &server.url("/")).await.body().is_empty());
    }
}

type Guarded = CircuitBreaker<HttpClient, StatusClassifier, RejectAsError, OnBodyEnd>;

/// A client behind a half-open breaker that opens at the first failure.
fn guarded(version: super::wire::Version) -> Guarded {
    let clock = ManualClock::new();
    let layer = CircuitBreakerLayer::builder("upstream")
        .trip_on(Trip::consecutive_failures(1))
        .recovery_timeout(OPEN_TIME)
        .clock(clock.clone())
        .classify(StatusClassifier::new())
        .on_body_end(OnBodyEnd::new())
        .build()
        .unwrap();
    make_half_open(layer.breaker(), &clock);
    layer.layer(client(version))
}

type Answer = Result<
    Response<tower_breaker::body::ResponseBody<Incoming, tower_breaker::classify::SuccessAtEos>>,
    Error<hyper_util::client::legacy::Error>,
>;

async fn ask(client: &mut Guarded, address: SocketAddr) -> Answer {
    let request = request(Method::GET, &format!("http://{address}/"));
    client.ready().await?.call(request).await
}

#[tokio::test]
async fn a_client_counts_a_success_when_the_body_ends() {
    for version in [Http1, Http2] {
        let mut client = guarded(version);
        let fine = service_fn(async |_: Request<Incoming>| {
            Ok(Response::new(prepared([Ok("half "), Ok("whole")])))
        });
        let server = serve(fine);
        let response = ask(&mut client, server.address).await.unwrap();
        assert_eq!(client.breaker().state(), State::HalfOpen);
        assert_eq!(response.collect().await.unwrap().to_bytes(), "half whole");
        assert_eq!(client.breaker().state(), State::Closed, "{version:?}");
    }
}

#[tokio::test]
async fn a_client_that_reads_all_bytes_of_a_known_length_need_not_poll_again() {
    for version in [Http1, Http2] {
        let mut client = guarded(version);
        let fine = service_fn(async |_: Request<Incoming>| {
            Ok(Response::new(Full::new(Bytes::from_static(b"whole"))))
        });
        let server = serve(fine);
        let mut response = ask(&mut client, server.address).await.unwrap();
        response.frame().await.unwrap().unwrap();
        assert_eq!(client.breaker().state(), State::Closed, "{version:?}");
    }
}

#[tokio::test]
async fn a_response_to_head_is_a_success_at_once() {
    for version in [Http1, Http2] {
        let mut client = guarded(version);
        let fine = axum::routing::get(async || "whole");
        let server = Server::of(axum::Router::new().route("/", fine));
        let request = request(Method::HEAD, &server.url("/"));
        let response = client.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(response.headers()["content-length"], "5");
        drop(response.collect().await.unwrap());
        assert_eq!(client.breaker().state(), State::Closed, "{version:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_closes_during_the_body_is_a_failure() {
    let endings: [&[u8]; 2] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf ",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhalf \r\n",
    ];
    for answer in endings {
        let mut client = guarded(Http1);
        let upstream = Server::that_says(answer);
        let response = ask(&mut client, upstream.address).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.collect().await.unwrap_err();
        assert_eq!(client.breaker().state(), State::Open);
        let rejected = ask(&mut client, upstream.address).await.unwrap_err();
        assert_eq!(rejected.rejected().unwrap().name(), "upstream");
    }
}

#[tokio::test]
async fn an_upstream_that_resets_the_stream_is_a_failure() {
    let mut client = guarded(Http2);
    let breaking = service_fn(async |_: Request<Incoming>| {
        Ok(Response::new(prepared([Ok("half "), broken()])))
    });
    let server = serve(breaking);
    // The reset may overtake the head.
    if let Ok(response) = ask(&mut client, server.address).await {
        response.collect().await.unwrap_err();
    }
    assert_eq!(client.breaker().state(), State::Open);
}

#[tokio::test]
async fn a_refused_connection_and_an_invalid_response_are_failures() {
    let mut client = guarded(Http1);
    let error = ask(&mut client, refusing_address()).await.unwrap_err();
    assert!(error.into_inner().unwrap().is_connect());
    assert_eq!(client.breaker().state(), State::Open);

    let mut client = guarded(Http1);
    let upstream = Server::that_says(b"good day\r\n\r\n");
    ask(&mut client, upstream.address).await.unwrap_err();
    assert_eq!(client.breaker().state(), State::Open);
}

#[tokio::test]
async fn a_reader_that_stops_before_the_end_releases_the_probes_slot() {
    for version in [Http1, Http2] {
        let mut client = guarded(version);
        let (sender, body) = super::bodies::pieces();
        let body = std::sync::Arc::new(std::sync::Mutex::new(Some(body)));
        let long = service_fn(move |_: Request<Incoming>| {
            let body = body.lock().unwrap().take().unwrap();
            std::future::ready(Ok(Response::new(body)))
        });
        let server = serve(long);
        sender.send(Ok("half ")).await.unwrap();
        let mut response = ask(&mut client, server.address).await.unwrap();
        response.frame().await.unwrap().unwrap();
        client.breaker().try_acquire().unwrap_err();
        drop(response);
        client.breaker().try_acquire().unwrap().success();
        assert_eq!(client.breaker().state(), State::Closed);
    }
}
