//! The same layer twice on one path of axum's routers.

use axum::{Router, extract::Path, routing::get as on_get};
use http::StatusCode;
use tower_breaker::{
    Breaker, CircuitBreakerLayer, OnBodyEnd, State, Trip, clock::ManualClock, reject::RespondWith,
};

use crate::support::wait::eventually_async;

use super::{
    OPEN_TIME,
    wire::{Http1, Http2, Server, Version, get},
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
