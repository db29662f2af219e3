//! gRPC, with tonic's servers and channels over loopback.

#[path = "../support/mod.rs"]
mod support;

mod accounting;
mod broken_uploads;
mod by_call;
mod client;
mod codes;
mod deadlines;
mod delays;
mod hangups;
mod heads;
mod neighbours;
mod not_grpc;
mod plain_http;
mod probes;
mod rejections;
mod server;
mod status_classifier;
mod streams;
mod uploads;

#[path = "../../examples/tonic.rs"]
#[allow(dead_code, reason = "`main` is for the example alone")]
mod example;

use std::time::Duration;

use tower_breaker::{
    Breaker, CircuitBreakerLayer, CircuitBreakerLayerBuilder, Trip, Window, clock::ManualClock,
    snapshot::WindowContent,
};

/// A breaker that keeps every result and never opens.
fn watching() -> CircuitBreakerLayerBuilder {
    CircuitBreakerLayer::builder("watching")
        .trip_on(Trip::failure_rate(1.0, Window::calls(1000)).minimum_calls(1000))
}

/// The recorded results in order: `.` for a success, `f` for a failure or a throttled call.
fn recorded(breaker: &Breaker) -> String {
    let snapshot = breaker.snapshot();
    let WindowContent::Results(results) = &snapshot.windows[0].content else {
        panic!("{snapshot:?}")
    };
    // `3f` means `fff`.
    let rows = results.split_inclusive(|letter: char| !letter.is_ascii_digit());
    rows.map(|row| {
        let (number, letter) = row.split_at(row.len() - 1);
        letter.repeat(number.parse().unwrap_or(1))
    })
    .collect()
}

const OPEN_TIME: Duration = Duration::from_secs(60);

/// A breaker that opens at the first failure, and its clock.
fn touchy() -> (CircuitBreakerLayerBuilder, ManualClock) {
    let clock = ManualClock::new();
    let builder = CircuitBreakerLayer::builder("touchy")
        .trip_on(Trip::consecutive_failures(1))
        .recovery_timeout(OPEN_TIME)
        .clock(clock.clone());
    (builder, clock)
}

fn trip(breaker: &Breaker) {
    breaker.try_acquire().unwrap().failure();
}

#[test]
fn child_process() {
    support::child::enter(&[
        (status_classifier::TOWER_HTTP, status_classifier::by_tower_http),
        (status_classifier::BY_DEFAULT, status_classifier::by_default),
    ]);
}

#[tokio::test]
async fn the_tonic_example_runs() {
    example::run().await.unwrap();
}
