//! Errors, states, outcomes and events may be added later, so a match needs a wildcard.
//!
//! E0004: Error; State; Outcome; Event

use tower_breaker::{Error, Event, Outcome, State};

fn all(error: Error<()>, state: State, outcome: Outcome, event: Event) {
    match error {
        Error::Rejected(_) | Error::Inner(()) => {}
        #[cfg(not(feature = "wrong"))]
        _ => {}
    }
    match state {
        State::Closed | State::Open | State::HalfOpen => {}
        State::ForcedOpen | State::Disabled | State::MetricsOnly => {}
        #[cfg(not(feature = "wrong"))]
        _ => {}
    }
    match outcome {
        Outcome::Success
        | Outcome::Failure { .. }
        | Outcome::Throttled { .. }
        | Outcome::Ignore => {}
        #[cfg(not(feature = "wrong"))]
        _ => {}
    }
    match event {
        Event::Transition(_) | Event::Store(_) => {}
        #[cfg(not(feature = "wrong"))]
        _ => {}
    }
}

fn main() {
    let _ = all;
}
