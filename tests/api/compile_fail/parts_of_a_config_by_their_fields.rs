//! Parts of the settings have constructors, and cannot be struct literals either.
//!
//! E0639: Backoff {; RampUp {; SnapshotTtl {

use std::time::Duration;

use tower_breaker::{Backoff, RampUp, config::SnapshotTtl};

fn main() {
    let long = Duration::from_secs(600);
    let (backoff, ramp_up, ttl) =
        (Backoff::new(2.0, long), RampUp::new(0.1, long), SnapshotTtl::default());
    #[cfg(feature = "wrong")]
    let (backoff, ramp_up, ttl) = (
        Backoff { multiplier: 3.0, ..backoff },
        RampUp { time: long, ..ramp_up },
        SnapshotTtl { open: long, ..ttl },
    );
    drop((backoff, ramp_up, ttl));
}
