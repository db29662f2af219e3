//! Errors that the request itself causes do not count.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::Redirect,
    routing::{any, get as on_get},
};
use http::{Response, StatusCode, Uri};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, CircuitBreakerLayerBuilder, Error, Outcome, State, Trip,
    classify::{
        Classify, ErrorsAsFailures, ServerErrorsAsFailures, StatusClassifier, TowerHttp,
        is_request_error,
    },
    reqwest_middleware::BreakerMiddleware,
};

use crate::support::wait::eventually_async;

use super::wire::{Http1, Http2, Server, Version, refusing_address};

/// A breaker that opens at the first failure.
fn touchy() -> CircuitBreakerLayerBuilder {
    CircuitBreakerLayer::builder("upstream").trip_on(Trip::consecutive_failures(1))
}

type Forwarding = Client<HttpConnector, Body>;

fn forwarding(version: Version) -> Forwarding {
    let http2 = matches!(version, Http2);
    Client::builder(TokioExecutor::new()).http2_only(http2).build_http()
}

/// A server that forwards requests to an upstream, through a breaker, and counts the errors.
fn proxy(version: Version, upstream: &Server) -> (Server, Breaker, Arc<AtomicU32>) {
    let layer = touchy().classify(ServerErrorsAsFailures).build().unwrap();
    let breaker = layer.breaker().clone();
    let client = layer.layer(forwarding(version));
    let errors = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&errors);
    let base = upstream.url("");
    let forward = async move |request: Request| {
        let (mut head, body) = request.into_parts();
        head.uri = format!("{base}{}", head.uri.path()).parse().unwrap();
        head.version = http::Version::default();
        head.headers = http::HeaderMap::new();
        // In a task of its own, so that the call ends even if the client is gone.
        let call = client.clone().oneshot(Request::from_parts(head, body));
        match tokio::spawn(call).await.unwrap() {
            Ok(response) => response.map(Body::new),
            Err(error) => {
                counted.fetch_add(1, SeqCst);
                let mut response = Response::new(Body::from(format!("{error:?}")));
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                response
            }
        }
    };
    (Server::of(Router::new().fallback(forward)), breaker, errors)
}

/// Responds after reading the whole request.
fn healthy() -> Server {
    let read = async |body: Body| {
        axum::body::to_bytes(body, usize::MAX)
            .await
            .map_or(StatusCode::BAD_REQUEST, |_| StatusCode::OK)
    };
    Server::of(Router::new().fallback(any(read)))
}

/// Sends a request with a truncated body.
async fn send_truncated(server: &Server, rest: &str, hangs_up: bool) {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("POST / HTTP/1.1\r\nhost: x\r\n{rest}");
    stream.write_all(request.as_bytes()).await.unwrap();
    if !hangs_up {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

#[tokio::test]
async fn truncated_requests_of_a_client_do_not_open_the_circuit_to_the_upstream() {
    let cases = [
        ("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nbroken\r\n", false),
        ("content-length: 10\r\n\r\nhello", true),
    ];
    for version in [Http1, Http2] {
        for (rest, hangs_up) in cases {
            let upstream = healthy();
            let (proxy, breaker, errors) = proxy(version, &upstream);
            for round in 1..=5 {
                send_truncated(&proxy, rest, hangs_up).await;
                eventually_async("the call fails", || errors.load(SeqCst) == round).await;
            }
            assert_eq!(breaker.state(), State::Closed, "{version:?}, {rest:?}");
            assert_eq!(breaker.stats().consecutive_failures(), 0);
        }
    }
}

#[tokio::test]
async fn an_upstream_that_closes_the_connection_opens_the_circuit() {
    let upstream = Server::that_says(b"");
    let (proxy, breaker, _) = proxy(Http1, &upstream);
    let request = super::wire::request(http::Method::GET, &proxy.url("/"));
    assert_eq!(super::wire::client(Http1).request(request).await.unwrap().status(), 502);
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test]
async fn a_uri_that_hyper_util_cannot_call_is_not_a_failure() {
    for version in [Http1, Http2] {
        for uri in ["/no-host", "ftp://127.0.0.1/"] {
            let layer = touchy().build().unwrap();
            let request = Request::get(uri.parse::<Uri>().unwrap()).body(Body::empty()).unwrap();
            let error = layer.layer(forwarding(version)).oneshot(request).await.unwrap_err();
            assert!(is_request_error(&error), "{error:?}");
            assert_eq!(layer.breaker().state(), State::Closed, "{uri}");
        }
    }
    let layer = touchy().build().unwrap();
    let request =
        Request::get(format!("http://{}/", refusing_address())).body(Body::empty()).unwrap();
    let error = layer.layer(forwarding(Http1)).oneshot(request).await.unwrap_err();
    assert!(!is_request_error(&error));
    assert_eq!(layer.breaker().state(), State::Open);
}

fn reqwest_client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn loop_of_redirects() -> Server {
    Server::of(Router::new().route("/", on_get(async || Redirect::to("/"))))
}

/// A request whose body fails after its first part.
fn with_broken_body(url: String) -> reqwest::Request {
    let parts = [Ok("half "), Err(io::Error::other("the file is gone"))];
    let body = reqwest::Body::wrap(super::bodies::prepared(parts));
    reqwest_client().post(url).body(body).build().unwrap()
}

#[tokio::test]
async fn requests_that_reqwest_cannot_send_do_not_open_the_circuit() {
    let (looping, upstream) = (loop_of_redirects(), healthy());
    let get = |url: &str| reqwest::Request::new(reqwest::Method::GET, url.parse().unwrap());
    for by_default in [true, false] {
        let requests =
            [get("ftp://127.0.0.1/"), get(&looping.url("/")), with_broken_body(upstream.url("/"))];
        for request in requests {
            let (error, breaker) = if by_default {
                let layer = touchy().build().unwrap();
                let call = layer.layer(reqwest_client()).oneshot(request);
                (call.await.unwrap_err(), layer.breaker().clone())
            } else {
                let layer = touchy().classify(StatusClassifier::new()).build().unwrap();
                let call = layer.layer(reqwest_client()).oneshot(request);
                (call.await.unwrap_err(), layer.breaker().clone())
            };
            assert!(is_request_error(&error));
            assert_eq!(breaker.state(), State::Closed, "{error:?}");
        }
    }
}

#[tokio::test]
async fn request_errors_are_recognized_in_the_middleware_and_in_boxed_errors() {
    let looping = loop_of_redirects();
    let breaker = touchy().build().unwrap().breaker().clone();
    let client = reqwest_middleware::ClientBuilder::new(reqwest_client())
        .with(BreakerMiddleware::new(breaker.clone()))
        .build();
    client.get("ftp://127.0.0.1/").send().await.unwrap_err();
    client.get(looping.url("/")).send().await.unwrap_err();
    assert_eq!(breaker.state(), State::Closed);
    client.get(format!("http://{}/", refusing_address())).send().await.unwrap_err();
    assert_eq!(breaker.state(), State::Open);

    let layer = touchy().build().unwrap();
    let boxed = reqwest_client().map_err(|error| BoxError::from(io::Error::other(error)));
    let bad = reqwest::Request::new(reqwest::Method::GET, "ftp://127.0.0.1/".parse().unwrap());
    layer.layer(boxed).oneshot(bad).await.unwrap_err();
    assert_eq!(layer.breaker().state(), State::Closed);
}

/// It does not implement `std::error::Error`.
#[derive(Debug, Clone, PartialEq)]
struct Opaque;

/// Fails until the inner breaker opens: the outer one counts each failure and no rejection.
async fn nest<E: Clone + std::fmt::Debug + 'static>(error: E) {
    let inner = CircuitBreakerLayer::builder("inner").build().unwrap();
    let outer = CircuitBreakerLayer::builder("outer")
        .trip_on(Trip::consecutive_failures(10))
        .build()
        .unwrap();
    let failing = service_fn(move |(): ()| std::future::ready(Err::<(), _>(error.clone())));
    let mut service = outer.layer(inner.layer(failing));
    for round in 1..=20 {
        service.ready().await.unwrap().call(()).await.unwrap_err();
        assert_eq!(outer.breaker().stats().consecutive_failures(), round.min(5));
    }
    assert_eq!(inner.breaker().state(), State::Open);
    assert_eq!(outer.breaker().state(), State::Closed);
}

#[tokio::test]
async fn a_rejection_by_an_inner_breaker_does_not_open_the_outer_one_as_an_error() {
    nest(Opaque).await;
    nest(()).await;
    nest("a text").await;
    nest(Error::Inner(Opaque)).await;
    nest(std::fmt::Error).await;

    let layer = touchy().build().unwrap();
    layer.breaker().force_open();
    let rejected = layer.breaker().try_acquire().unwrap_err();
    let forms: [BoxError; 3] = [
        rejected.clone().into(),
        io::Error::other(rejected.clone()).into(),
        Error::<io::Error>::Rejected(rejected.clone()).into(),
    ];
    for error in forms {
        let result: Result<Response<()>, _> = Err(error);
        assert_eq!(Classify::classify(&ErrorsAsFailures, &result), Outcome::Ignore);
        assert_eq!(Classify::classify(&ServerErrorsAsFailures, &result), Outcome::Ignore);
        assert_eq!(Classify::classify(&StatusClassifier::new(), &result), Outcome::Ignore);
    }
    let known: Result<(), Error<io::Error>> = Err(Error::Rejected(rejected));
    assert_eq!(ErrorsAsFailures.classify(&known), Outcome::Ignore);
}

#[tokio::test]
async fn a_rejection_by_an_inner_breaker_does_not_open_the_outer_one_as_a_response() {
    let inner = CircuitBreakerLayer::builder("inner").http().build().unwrap();
    inner.breaker().force_open();
    let outer = touchy().http().build().unwrap();
    let handler = on_get(async || "fine");
    let routes = Router::new().route("/", handler).layer(inner).layer(outer.clone());
    let server = Server::of(routes);
    for _ in 0..5 {
        assert_eq!(super::wire::get(Http1, &server.url("/")).await.status(), 503);
    }
    assert_eq!(outer.breaker().state(), State::Closed);

    // With any status and any classifier.
    let mut response = Response::new(());
    response.extensions_mut().insert(outer.breaker().clone());
    outer.breaker().force_open();
    response.extensions_mut().insert(outer.breaker().try_acquire().unwrap_err());
    for status in [200, 404, 503] {
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let result: Result<_, io::Error> = Ok(response.clone());
        assert_eq!(ServerErrorsAsFailures.classify(&result), Outcome::Ignore);
        assert_eq!(StatusClassifier::new().failure(200..=599).classify(&result), Outcome::Ignore);
        let theirs = TowerHttp(tower_http::classify::ServerErrorsAsFailures::new());
        assert_eq!(theirs.classify(&result), Outcome::Ignore);
    }
}

/// By hyper alone: over HTTP/2 there is no connector that would refuse the request.
#[tokio::test]
async fn a_request_that_hyper_cannot_send_over_http2_is_not_a_failure() {
    let upstream = healthy();
    let without_host = || Request::get("/x").version(http::Version::HTTP_2).body(Body::empty());
    for _ in 0..2 {
        let stream = TcpStream::connect(upstream.address).await.unwrap();
        let (sender, connection) = hyper::client::conn::http2::handshake(
            TokioExecutor::new(),
            hyper_util::rt::TokioIo::new(stream),
        )
        .await
        .unwrap();
        let connection = tokio::spawn(connection);
        let layer = touchy().build().unwrap();
        let send = service_fn(|request: Request| sender.clone().send_request(request));
        let error = layer.layer(send).oneshot(without_host().unwrap()).await.unwrap_err();
        assert!(is_request_error(&error), "{error:?}");
        assert_eq!(layer.breaker().state(), State::Closed);
        connection.abort();
    }
}

/// It was never sent.
#[tokio::test]
async fn a_request_that_cannot_be_built_is_not_a_failure() {
    fn boxed() -> Result<(), BoxError> {
        let _ = Request::get("http://[").body(())?;
        Ok(())
    }
    fn header() -> Result<(), http::Error> {
        let _ = Request::get("/").header("a", "\n").body(())?;
        Ok(())
    }
    fn uri() -> Result<(), BoxError> {
        let _: Uri = "http://[".parse()?;
        Ok(())
    }
    fn parts() -> Result<(), BoxError> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(http::uri::Scheme::HTTP);
        let _ = Uri::from_parts(parts)?;
        Ok(())
    }
    let breaker = touchy().build().unwrap().breaker().clone();
    for _ in 0..5 {
        breaker.call_blocking(boxed).unwrap_err();
        breaker.call_blocking(header).unwrap_err();
        breaker.call_blocking(uri).unwrap_err();
        breaker.call_blocking(parts).unwrap_err();
    }
    assert_eq!(breaker.state(), State::Closed);
    // A response that cannot be built of what the dependency has sent.
    let status = || -> Result<(), http::Error> {
        let _ = Response::builder().status(1000).body(())?;
        Ok(())
    };
    breaker.call_blocking(status).unwrap_err();
    assert_eq!(breaker.state(), State::Open);
    breaker.reset();
    breaker.call(async { Err::<(), BoxError>("\n".into()) }).await.unwrap_err();
    assert_eq!(breaker.state(), State::Open);
}
