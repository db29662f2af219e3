//! Traffic for a breaker with any configuration and any restored state, and its invariants.

use std::time::Duration;

use tower_breaker::{Breaker, Config, Outcome, State, clock::ManualClock, snapshot::Snapshot};

/// The upper bound of an open time, for any snapshot.
pub(crate) fn longest_open_time(config: &Config) -> Duration {
    config.backoff.map_or(config.recovery_timeout, |backoff| backoff.max)
}

/// Makes calls of every kind with time between them, and checks the invariants after each.
pub(crate) fn make(breaker: &Breaker, clock: &ManualClock) {
    let outcomes = [
        Outcome::Success,
        Outcome::failure(),
        Outcome::throttled(),
        Outcome::Ignore,
        Outcome::failure(),
    ];
    for round in 0..24_u32 {
        let outcome = &outcomes[round as usize % outcomes.len()];
        match breaker.try_acquire() {
            Ok(permit) if round % 7 == 6 => drop(permit),
            Ok(permit) => permit.record(*outcome, Duration::from_secs(round.into())),
            Err(rejected) => wait(breaker, clock, rejected.retry_after()),
        }
        consistent(breaker);
        clock.advance(Duration::from_millis(130 << (round % 8)));
    }
}

/// Waits as long as the rejection says; an open circuit is then half-open.
fn wait(breaker: &Breaker, clock: &ManualClock, left: Option<Duration>) {
    let state = breaker.state();
    let Some(left) = left else {
        assert_ne!(state, State::Open, "an open circuit has a remaining open time");
        return;
    };
    assert!(left <= longest_open_time(&breaker.config()), "{left:?} left while {state}");
    clock.advance(left);
    if state == State::Open {
        assert_eq!(breaker.state(), State::HalfOpen);
    }
}

/// State and snapshot agree, and the snapshot survives a round trip through JSON.
pub(crate) fn consistent(breaker: &Breaker) {
    let snapshot = breaker.snapshot();
    assert_eq!(snapshot.state, breaker.state());
    for window in &snapshot.windows {
        assert!(window.failures <= window.calls && window.slow_calls <= window.calls, "{window:?}");
    }
    let json = snapshot.to_json().expect("a snapshot can be encoded");
    assert_eq!(Snapshot::from_json(json.as_bytes()), Ok(snapshot));
}
