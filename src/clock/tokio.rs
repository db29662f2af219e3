//! A clock for tests on tokio's paused time.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::{Clock, sources};

/// Follows `tokio::time::Instant`, and thus tokio's paused time
/// (`#[tokio::test(start_paused = true)]`). Meant for tests.
///
/// The wall clock advances with it from the moment at which this clock was created. Outside a
/// paused runtime this is the standard library's clock, which may not count the time for which the
/// machine was suspended, as the [system's](super::SystemClock) does.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    origin: Instant,
    wall_origin: SystemTime,
}

impl TokioClock {
    /// Creates a clock that starts now. Call it inside the runtime whose time it follows.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now(), wall_origin: sources::wall() }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn wall(&self) -> SystemTime {
        self.wall_origin + self.origin.elapsed()
    }
}
