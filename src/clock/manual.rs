//! A clock for tests that is advanced by hand.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use super::Clock;

/// A clock that stands still until it is advanced. Clones share one time.
#[derive(Debug, Clone)]
pub struct ManualClock {
    time: Arc<Mutex<ManualTime>>,
}

#[derive(Debug)]
struct ManualTime {
    now: Duration,
    wall: SystemTime,
}

impl ManualClock {
    /// Creates a clock whose wall time is 2023-11-14 22:13:20 UTC (1,700,000,000 seconds since
    /// 1970).
    #[must_use]
    pub fn new() -> Self {
        Self::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
    }

    /// Creates a clock with the given wall time, whose monotonic time starts at zero, like that of
    /// a restarted process.
    #[must_use]
    pub fn starting_at(wall: SystemTime) -> Self {
        Self { time: Arc::new(Mutex::new(ManualTime { now: Duration::ZERO, wall })) }
    }

    /// Advances both clocks.
    pub fn advance(&self, by: Duration) {
        self.with(|time| {
            time.now = time.now.saturating_add(by);
            time.wall = time.wall.checked_add(by).unwrap_or(time.wall);
        });
    }

    /// Sets the wall clock. The monotonic time does not change.
    pub fn set_wall(&self, wall: SystemTime) {
        self.with(|time| time.wall = wall);
    }

    /// The wall clock.
    #[must_use]
    pub fn wall(&self) -> SystemTime {
        self.with(|time| time.wall)
    }

    fn with<T>(&self, f: impl FnOnce(&mut ManualTime) -> T) -> T {
        f(&mut self.time.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        self.with(|time| time.now)
    }

    fn wall(&self) -> SystemTime {
        ManualClock::wall(self)
    }
}
