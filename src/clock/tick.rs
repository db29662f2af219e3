//! Moments of a breaker's monotonic clock.

use std::time::{Duration, SystemTime};

const NANOS_PER_YEAR: u64 = 365 * 24 * 3600 * 1_000_000_000;

/// A moment of a monotonic clock, in nanoseconds.
///
/// Zero is a hundred years before the clock's own origin, so that everything in a snapshot,
/// however old, has a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u64);

impl Tick {
    const ORIGIN: u64 = 100 * NANOS_PER_YEAR;
    /// Later than any other tick.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) const fn new(since_origin: Duration) -> Self {
        Self::at(nanos(since_origin))
    }

    /// The tick this many nanoseconds after the clock's origin.
    pub(super) const fn at(nanos: u64) -> Self {
        Self(Self::ORIGIN.saturating_add(nanos))
    }

    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    pub(crate) const fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    pub(crate) const fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }

    /// The time since `earlier`; zero if that is in the future.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// The time since `earlier` in nanoseconds, without the division that a [`Duration`] takes.
    pub(crate) const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Both clocks, read together, to convert from one to the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) tick: Tick,
    pub(crate) wall: SystemTime,
}

impl Reading {
    /// The wall time of a moment.
    pub(crate) fn wall_at(&self, tick: Tick) -> SystemTime {
        let shifted = if tick > self.tick {
            self.wall.checked_add(tick.since(self.tick))
        } else {
            self.wall.checked_sub(self.tick.since(tick))
        };
        shifted.unwrap_or(self.wall)
    }
}

/// Nanoseconds, capped at 584 years.
pub(crate) const fn nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 {
        u64::MAX
    } else {
        #[allow(clippy::cast_possible_truncation)] // checked in the line above
        {
            nanos as u64
        }
    }
}
