//! HTTP: frameworks and clients over real sockets on loopback, and response bodies poll by poll.

#[path = "../support/mod.rs"]
mod support;

mod accounting;
mod bodies;
mod broken_uploads;
mod hung;
mod nested;
mod one_view;
mod presets;
mod request_errors;
mod streaming;
mod timeouts;
mod wire;
mod with_axum;
mod with_hyper;
mod with_keyed_reqwest_middleware;
mod with_reqwest;
mod with_reqwest_middleware;

use std::time::Duration;

use tower_breaker::{Breaker, State};

const OPEN_TIME: Duration = Duration::from_secs(60);

/// Opens a circuit whose rule is one failure, and lets its open time go by.
fn make_half_open(breaker: &Breaker, clock: &tower_breaker::clock::ManualClock) {
    breaker.try_acquire().unwrap().failure();
    clock.advance(OPEN_TIME);
    assert_eq!(breaker.state(), State::HalfOpen);
}
