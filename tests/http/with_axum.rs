//! axum 0.8.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use axum::{
    Extension, Router,
    body::Body,
    extract::State as FromState,
    routing::{any, get as on_get},
};
use http::{Method, Response, StatusCode, header::CONTENT_LENGTH, header::RETRY_AFTER};
use http_body_util::BodyExt;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, OnBodyEnd, State, Trip, classify::ServerErrorsAsFailures,
    clock::ManualClock, reject::RejectAsResponse,
};

use crate::support::wait::eventually_async;

use super::{
    OPEN_TIME,
    bodies::{Pieces, broken, pieces},
    make_half_open,
    wire::{Http1, Http2, Server, Version, client, get, listen, open, request},
};

type Http<O = tower_breaker::record_when::OnResponse> =
    CircuitBreakerLayer<ServerErrorsAsFailures, RejectAsResponse, O>;

fn layer() -> Http {
    let builder = CircuitBreakerLayer::builder("axum").recovery_timeout(OPEN_TIME);
    builder.clock(ManualClock::new()).http().build().unwrap()
}

fn half_open() -> Http<OnBodyEnd> {
    let clock = ManualClock::new();
    let layer = CircuitBreakerLayer::builder("axum")
        .trip_on(Trip::consecutive_failures(1))
        .recovery_timeout(OPEN_TIME)
        .clock(clock.clone())
        .http()
        .on_body_end(OnBodyEnd::new())
        .build()
        .unwrap();
    make_half_open(layer.breaker(), &clock);
    layer
}

/// Two routes, and a fallback with 404.
fn routes() -> Router {
    Router::new().route("/a", on_get(async || "a")).route("/b", on_get(async || "b"))
}

async fn statuses<const N: usize>(server: &Server, paths: [&str; N]) -> [u16; N] {
    let mut statuses = [0; N];
    for (status, path) in statuses.iter_mut().zip(paths) {
        *status = get(Http1, &server.url(path)).await.status().as_u16();
    }
    statuses
}

#[tokio::test]
async fn five_failures_open_the_circuit_and_the_handler_is_no_longer_called() {
    for version in [Http1, Http2] {
        let calls = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&calls);
        let failing = async move || {
            count.fetch_add(1, Ordering::Relaxed);
            (StatusCode::BAD_GATEWAY, "sorry")
        };
        let layer = layer();
        let breaker = layer.breaker().clone();
        let server = Server::of(Router::new().route("/", on_get(failing)).layer(layer));
        for _ in 0..5 {
            let response = get(version, &server.url("/")).await;
            assert_eq!(
                (response.status(), &response.body()[..]),
                (StatusCode::BAD_GATEWAY, &b"sorry"[..])
            );
        }
        let rejection = get(version, &server.url("/")).await;
        assert_eq!(rejection.status(), StatusCode::SERVICE_UNAVAILABLE, "{version:?}");
        assert_eq!(rejection.headers()[RETRY_AFTER], "60");
        assert_eq!(rejection.headers()["content-type"], "application/problem+json");
        let problem: serde_json::Value = serde_json::from_slice(rejection.body()).unwrap();
        assert_eq!(problem["status"], 503);
        assert_eq!((calls.load(Ordering::Relaxed), breaker.state()), (5, State::Open));
    }
}

#[tokio::test]
async fn a_layer_covers_the_fallback_of_a_router_and_a_route_layer_does_not() {
    let layer = layer();
    layer.breaker().force_open();
    let all = Server::of(routes().layer(layer.clone()));
    assert_eq!(statuses(&all, ["/a", "/b", "/c"]).await, [503, 503, 503]);
    let only_routes = Server::of(routes().route_layer(layer.clone()));
    assert_eq!(statuses(&only_routes, ["/a", "/b", "/c"]).await, [503, 503, 404]);
    layer.breaker().reset();
    assert_eq!(statuses(&all, ["/a", "/b", "/c"]).await, [200, 200, 404]);
}

#[tokio::test]
async fn a_layer_around_the_whole_router_covers_its_routes_and_its_fallback() {
    let layer = layer();
    let failing = on_get(async || StatusCode::BAD_GATEWAY);
    let service = layer.layer(routes().route("/failing", failing).with_state(()));
    let service = axum::ServiceExt::<axum::extract::Request>::into_make_service(service);
    let (listener, address) = listen();
    let task = tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
    let server = Server::task(address, task);
    assert_eq!(statuses(&server, ["/a", "/b", "/c"]).await, [200, 200, 404]);
    assert_eq!(statuses(&server, ["/failing", "/failing"]).await, [502, 502]);
    assert_eq!(layer.breaker().stats().consecutive_failures(), 2);
    layer.breaker().force_open();
    assert_eq!(statuses(&server, ["/a", "/b", "/c"]).await, [503, 503, 503]);
}

#[tokio::test]
async fn a_layer_on_one_route_does_not_affect_the_others() {
    let layer = layer();
    layer.breaker().force_open();
    let router = routes()
        .route("/c", on_get(async || "c").layer(layer.clone()))
        .route("/d", on_get(async || "d").layer(layer).post(async || "posted"));
    let server = Server::of(router);
    assert_eq!(statuses(&server, ["/a", "/c", "/d"]).await, [200, 503, 503]);
    let posted = client(Http1).request(request(Method::POST, &server.url("/d"))).await.unwrap();
    assert_eq!(posted.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_nested_service_can_have_its_own_breaker() {
    let layer = layer();
    let breaker = layer.breaker().clone();
    let service = ServiceBuilder::new().layer(layer.clone()).service(routes());
    let router = routes().nest_service("/nested", service).nest("/too", routes().layer(layer));
    let server = Server::of(router);
    let paths = ["/a", "/nested/a", "/too/a"];
    assert_eq!(statuses(&server, paths).await, [200, 200, 200]);
    breaker.force_open();
    assert_eq!(statuses(&server, paths).await, [200, 503, 503]);
}

#[tokio::test]
async fn a_fallback_can_have_its_own_breaker() {
    let layer = layer();
    layer.breaker().force_open();
    let router = routes().fallback_service(layer.layer(any(async || "elsewhere")));
    let server = Server::of(router);
    assert_eq!(statuses(&server, ["/a", "/elsewhere"]).await, [200, 503]);
    layer.breaker().reset();
    assert_eq!(get(Http2, &server.url("/elsewhere")).await.body(), "elsewhere");
}

/// Each connection and each route gets a service of its own; they share one breaker.
#[tokio::test]
async fn routes_and_connections_share_one_breaker() {
    let failing = || on_get(async || StatusCode::INTERNAL_SERVER_ERROR);
    let layer = layer();
    let breaker = layer.breaker().clone();
    let router = Router::new().route("/a", failing()).route("/b", failing()).layer(layer);
    let server = Server::of(router.clone());
    assert_eq!(statuses(&server, ["/a", "/b", "/a", "/b"]).await, [500; 4]);
    assert_eq!(breaker.stats().consecutive_failures(), 4);
    let request = http::Request::builder().uri("/a").body(Body::empty()).unwrap();
    assert_eq!(router.oneshot(request).await.unwrap().status(), 500);
    assert_eq!(statuses(&server, ["/a", "/b"]).await, [503; 2]);
}

#[tokio::test]
async fn a_handler_gets_the_breaker_as_state_and_as_extension() {
    let layer = layer();
    let breaker = layer.breaker().clone();
    let state = async |FromState(breaker): FromState<Breaker>| breaker.state().to_string();
    let extension = async |Extension(breaker): Extension<Breaker>| breaker.state().to_string();
    let router = Router::new()
        .route("/state", on_get(state))
        .route("/extension", on_get(extension))
        .layer(Extension(breaker.clone()))
        .with_state(breaker.clone())
        .merge(routes().layer(layer));
    let server = Server::of(router);
    breaker.force_open();
    assert_eq!(statuses(&server, ["/a"]).await, [503]);
    for path in ["/state", "/extension"] {
        assert_eq!(get(Http1, &server.url(path)).await.body(), "forced_open");
    }
}

/// A server whose only route responds with this body, once.
fn streaming(layer: Http<OnBodyEnd>, response: Response<Pieces>) -> Server {
    let response = Arc::new(Mutex::new(Some(response)));
    let handler = async move || response.lock().unwrap().take().unwrap().map(Body::new);
    Server::of(Router::new().route("/", any(handler)).layer(layer))
}

const BOTH: [Version; 2] = [Http1, Http2];

#[tokio::test]
async fn a_stream_closes_the_circuit_when_it_ends() {
    for version in BOTH {
        let layer = half_open();
        let breaker = layer.breaker().clone();
        let (sender, body) = pieces();
        let server = streaming(layer, Response::new(body));
        let mut response = open(version, &server.url("/")).await;
        sender.send(Ok("half ")).await.unwrap();
        let frame = response.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "half ");
        assert_eq!(breaker.state(), State::HalfOpen);
        breaker.try_acquire().unwrap_err();
        drop(sender);
        assert!(response.collect().await.unwrap().to_bytes().is_empty());
        eventually_async("the circuit closes", || breaker.state() == State::Closed).await;
    }
}

#[tokio::test]
async fn a_stream_with_an_error_is_a_failure() {
    for version in BOTH {
        let layer = half_open();
        let breaker = layer.breaker().clone();
        let (sender, body) = pieces();
        let server = streaming(layer, Response::new(body));
        sender.send(Ok("half ")).await.unwrap();
        let mut response = open(version, &server.url("/")).await;
        response.frame().await.unwrap().unwrap();
        assert_eq!(breaker.state(), State::HalfOpen);
        sender.send(broken()).await.unwrap();
        response.collect().await.unwrap_err();
        eventually_async("the circuit opens", || breaker.state() == State::Open).await;
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_during_the_body_cancels_and_releases_the_probes_slot() {
    for version in BOTH {
        let layer = half_open();
        let breaker = layer.breaker().clone();
        let (sender, body) = pieces();
        let server = streaming(layer, Response::new(body));
        let client = client(version);
        let mut response = client.request(request(Method::GET, &server.url("/"))).await.unwrap();
        sender.send(Ok("half ")).await.unwrap();
        response.frame().await.unwrap().unwrap();
        breaker.try_acquire().unwrap_err();
        drop((response, client));
        eventually_async("the body is dropped", || sender.is_closed()).await;
        eventually_async("the slot is released", || breaker.try_acquire().is_ok()).await;
        assert_eq!(breaker.state(), State::HalfOpen, "{version:?}");
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_before_the_head_cancels_too() {
    for version in BOTH {
        let layer = half_open();
        let breaker = layer.breaker().clone();
        let silent = on_get(async || std::future::pending::<()>().await);
        let server = Server::of(Router::new().route("/", silent).layer(layer));
        let call = tokio::spawn(client(version).request(request(Method::GET, &server.url("/"))));
        eventually_async("the probe is out", || breaker.try_acquire().is_err()).await;
        call.abort();
        eventually_async("the slot is released", || breaker.try_acquire().is_ok()).await;
    }
}

/// hyper does not poll a body after the last byte of its content length.
#[tokio::test]
async fn a_stream_with_a_content_length_is_a_success() {
    let layer = half_open();
    let breaker = layer.breaker().clone();
    let (sender, body) = pieces();
    let response = Response::builder().header(CONTENT_LENGTH, 10).body(body).unwrap();
    let server = streaming(layer, response);
    for piece in ["half ", "whole"] {
        sender.send(Ok(piece)).await.unwrap();
    }
    assert_eq!(get(Http1, &server.url("/")).await.body(), "half whole");
    eventually_async("the body is dropped before its end", || sender.is_closed()).await;
    eventually_async("the circuit closes", || breaker.state() == State::Closed).await;
}

#[tokio::test]
async fn bodies_of_any_length_are_successes() {
    for version in BOTH {
        for length in [0, 1, 100_000] {
            let layer = half_open();
            let breaker = layer.breaker().clone();
            let handler = on_get(async move || "x".repeat(length));
            let server = Server::of(Router::new().route("/", handler).layer(layer));
            assert_eq!(get(version, &server.url("/")).await.body().len(), length);
            eventually_async("the circuit closes", || breaker.state() == State::Closed).await;
        }
    }
}

/// axum drops the body above the layer, so it was never read. The documentation of `OnBodyEnd`
/// says so.
#[tokio::test]
async fn the_response_to_a_head_request_loses_its_body_and_is_cancelled() {
    let layer = half_open();
    let breaker = layer.breaker().clone();
    let server = Server::of(routes().layer(layer));
    let head = client(Http1).request(request(Method::HEAD, &server.url("/a"))).await.unwrap();
    assert_eq!(
        (head.status(), &head.headers()[CONTENT_LENGTH]),
        (StatusCode::OK, &"1".parse().unwrap())
    );
    assert_eq!(breaker.state(), State::HalfOpen);
    drop(breaker.try_acquire().unwrap());
    assert_eq!(get(Http1, &server.url("/a")).await.body(), "a");
    eventually_async("the circuit closes", || breaker.state() == State::Closed).await;
}
