//! The same layer twice on one path of axum's routers.

use axum::{Router, extract::Path, routing::get as on_get};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use tokio_stream::StreamExt;
use tower_breaker::{
    Breaker, CircuitBreakerLayer, OnBodyEnd, State, Trip, clock::ManualClock, reject::RespondWith,
};

use crate::support::wait::eventually_async;

use super::{
    OPEN_TIME,
    wire::{Http1, Http2, Server, Version, client, get, request},
};

fn router() -> Router {
    let answer = async |Path(status): Path<u16>| StatusCode::from_u16(status).unwrap();
    Router::new().route("/{status}", on_get(answer))
}

fn builder() -> (tower_breaker::CircuitBreakerLayerBuilder, ManualClock) {
    let clock = ManualClock::new();
    let builder = CircuitBreakerLayer::builder("nested")
        .trip_on(Trip::consecutive_failures(5))
        .recovery_timeout(OPEN_TIME)
        .clock(clock.clone());
    (builder, clock)
}

/// Five failures open it, and one probe closes it.
async fn opens_and_closes(
    version: Version,
    router: Router,
    breaker: &Breaker,
    clock: &ManualClock,
) {
    let server = Server::of(router);
    let status = async |path| get(version, &server.url(path)).await.status().as_u16();
    for failures in 0..5 {
        assert_eq!(breaker.stats().consecutive_failures(), failures);
        assert_eq!(status("/nested/500").await, 500);
        eventually_async("it counts", || breaker.stats().consecutive_failures() != failures).await;
    }
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(status("/nested/200").await, 503);
    clock.advance(OPEN_TIME);
    assert_eq!(status("/nested/500").await, 500);
    eventually_async("the probe has failed", || breaker.state() == State::Open).await;
    clock.advance(OPEN_TIME);
    assert_eq!(status("/nested/200").await, 200);
    eventually_async("the probe closes", || breaker.state() == State::Closed).await;
    for _ in 0..20 {
        assert_eq!(status("/nested/200").await, 200);
    }
}

#[tokio::test]
async fn a_layer_on_a_router_and_on_a_nested_one_counts_once() {
    for version in [Http1, Http2] {
        let (builder, clock) = builder();
        let layer = builder.http().build().unwrap();
        let breaker = layer.breaker().clone();
        let inner = router().layer(layer.clone());
        let outer = Router::new().nest("/nested", inner).layer(layer);
        opens_and_closes(version, outer, &breaker, &clock).await;
    }
}

/// Also where the end of the body decides, and with a layer on the route as well.
#[tokio::test]
async fn three_layers_count_once_if_bodies_are_watched() {
    let (builder, clock) = builder();
    let layer = builder.http().on_body_end(OnBodyEnd::new()).build().unwrap();
    let breaker = layer.breaker().clone();
    let inner = router().route_layer(layer.clone()).layer(layer.clone());
    let outer = Router::new().nest("/nested", inner).layer(layer);
    opens_and_closes(Http1, outer, &breaker, &clock).await;
}

/// Two faces of one breaker: a layer with answers of its own further in.
#[tokio::test]
async fn layers_of_one_breaker_with_different_answers_count_once() {
    let (builder, clock) = builder();
    let outer = builder.http().build().unwrap();
    let breaker = outer.breaker().clone();
    let teapot = |_: &_| {
        let mut response = http::Response::new(axum::body::Body::empty());
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    };
    let inner = CircuitBreakerLayer::new(breaker.clone()).http().reject_with(RespondWith(teapot));
    let router = Router::new().nest("/nested", router().layer(inner)).layer(outer);
    opens_and_closes(Http1, router, &breaker, &clock).await;
}

/// Work of the handler that goes on in its body, by hand through the same breaker.
#[tokio::test]
async fn a_call_by_hand_within_a_watched_body_is_part_of_its_call() {
    let (builder, clock) = builder();
    let layer = builder.http().on_body_end(OnBodyEnd::new()).build().unwrap();
    let breaker = layer.breaker().clone();
    let inner = breaker.clone();
    let answer = async move |Path(last): Path<String>| {
        let parts = ["first".to_owned(), "second".to_owned(), last].map(|part| {
            let breaker = inner.clone();
            async move {
                let failed = || std::io::Error::other("as requested");
                let work = async { if part == "fails" { Err(failed()) } else { Ok(part) } };
                breaker.call(work).await.map_err(|error| std::io::Error::other(error.to_string()))
            }
        });
        axum::body::Body::from_stream(tokio_stream::iter(parts).then(|part| part))
    };
    let server = Server::of(Router::new().route("/{last}", on_get(answer)).layer(layer));
    // If the body fails at once, the head may not arrive either.
    let body = async |path| {
        let answer = client(Http1).request(request(Method::GET, &server.url(path))).await.ok()?;
        Some(answer.into_body().collect().await.ok()?.to_bytes())
    };
    for failures in 0..5 {
        assert_eq!(breaker.stats().consecutive_failures(), failures);
        assert_eq!(body("/fails").await, None);
        eventually_async("it counts", || breaker.stats().consecutive_failures() != failures).await;
    }
    assert_eq!(breaker.state(), State::Open);
    clock.advance(OPEN_TIME);
    let read = body("/third").await.expect("the probe is not rejected further in");
    assert_eq!(read, "firstsecondthird");
    eventually_async("the probe closes", || breaker.state() == State::Closed).await;
}
