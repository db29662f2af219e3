//! Waiting for the circuit to admit calls: `acquire().await`, and services that wait instead of
//! rejecting.

mod acquire;
mod backpressure;
mod no_timers;

use std::time::Duration;

use tower_breaker::{Breaker, BreakerBuilder, Trip, clock::TokioClock};

const OPEN_TIME: Duration = Duration::from_secs(60);

/// A breaker on tokio's paused time that opens at the first failure.
fn quick(builder: BreakerBuilder) -> BreakerBuilder {
    builder
        .clock(TokioClock::new())
        .trip_on(Trip::consecutive_failures(1))
        .recovery_timeout(OPEN_TIME)
}

fn trip(breaker: &Breaker) {
    breaker.try_acquire().expect("closed").failure();
}
