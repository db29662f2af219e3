//! Fields may be added to an outcome later, so a pattern of its fields needs `..`.
//!
//! E0638: Failure; Throttled

use tower_breaker::Outcome;

fn delay(outcome: Outcome) -> Option<std::time::Duration> {
    match outcome {
        #[cfg(not(feature = "wrong"))]
        Outcome::Failure { retry_after, .. } | Outcome::Throttled { retry_after, .. } => {
            retry_after
        }
        #[cfg(feature = "wrong")]
        Outcome::Failure { retry_after } => retry_after,
        #[cfg(feature = "wrong")]
        Outcome::Throttled { retry_after } => retry_after,
        _ => None,
    }
}

fn main() {
    let _ = delay;
}
