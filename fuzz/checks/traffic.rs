//! What a breaker has to stand, whatever it was told or began with.

use std::time::Duration;

use tower_breaker::{Breaker, Config, Outcome, State, clock::ManualClock, snapshot::Snapshot};

/// No open time is longer, whatever a snapshot says.
pub(crate) fn longest_open_time(config: &Config) -> Duration {
    config.backoff.map_or(config.recovery_timeout, |backoff| backoff.max)
}

/// Some calls of every kind, and time between them. What holds in between, holds here.
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

/// After the time that a rejection gives, the circuit admits a call.
fn wait(breaker: &Breaker, clock: &ManualClock, left: Option<Duration>) {
    let state = breaker.state();
    let Some(left) = left else {
        assert_ne!(state, State::Open, "an open circuit knows how long it is open");
        return;
    };
    assert!(left <= longest_open_time(&breaker.config()), "{left:?} left while {state}");
    clock.advance(left);
    if state == State::Open {
        assert_eq!(breaker.state(), State::HalfOpen);
    }
}

/// What a breaker says of itself agrees with itself, and comes back through JSON as it was.
pub(crate) fn consistent(breaker: &Breaker) {
    let snapshot = breaker.snapshot();
    assert_eq!(snapshot.state, breaker.state());
    for window in &snapshot.windows {
        assert!(window.failures <= window.calls && window.slow_calls <= window.calls, "{window:?}");
    }
    let json = snapshot.to_json().expect("a snapshot is JSON");
    assert_eq!(Snapshot::from_json(json.as_bytes()), Ok(snapshot));
}
