//! Where the time comes from.
//!
//! A breaker needs two times: a monotonic one, by which it decides, and the wall clock, by which
//! a snapshot says when it was opened to a process that starts later. Without a word from you it
//! takes both from the machine ([`SystemClock`]). Tests move time by hand with [`ManualClock`],
//! or let the breaker follow tokio's paused time with [`TokioClock`].
//!
//! ```
//! use std::time::Duration;
//! use tower_breaker::{Breaker, State, clock::ManualClock};
//!
//! let clock = ManualClock::new();
//! let breaker = Breaker::builder("payments").clock(clock.clone()).build()?;
//! for _ in 0..5 {
//!     breaker.try_acquire()?.failure();
//! }
//! assert_eq!(breaker.state(), State::Open);
//! clock.advance(Duration::from_secs(60));
//! assert_eq!(breaker.state(), State::HalfOpen);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

const NANOS_PER_YEAR: u64 = 365 * 24 * 3600 * 1_000_000_000;

/// A moment of a monotonic clock, in nanoseconds.
///
/// Zero lies a hundred years before the clock's own origin, so that the age of anything a
/// snapshot can hold is a moment too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u64);

impl Tick {
    const ORIGIN: u64 = 100 * NANOS_PER_YEAR;
    /// Later than any other moment.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) fn new(since_origin: Duration) -> Self {
        Self(Self::ORIGIN.saturating_add(nanos(since_origin)))
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

    /// The time since `earlier`, zero if that lies ahead.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// The same in nanoseconds: without the division that a [`Duration`] takes.
    pub(crate) const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Both clocks, read together: the way from one time to the other.
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

/// A source of time.
///
/// A breaker asks a clock of your own under its lock, so it should be quick, and must not call
/// the breaker.
pub trait Clock: Send + Sync + 'static {
    /// Time since a fixed origin of this clock's choice. It never goes back.
    fn now(&self) -> Duration;

    /// The wall clock. It may jump; a breaker looks at it only where a snapshot is written or
    /// read.
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// The machine's own clocks: the default.
///
/// The monotonic time is read from the processor's time-stamp counter where that is reliable
/// (through the crate `quanta`), else from the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

static COUNTER: LazyLock<(quanta::Clock, u64)> = LazyLock::new(|| {
    let clock = quanta::Clock::new();
    let origin = clock.raw();
    (clock, origin)
});

impl SystemClock {
    #[inline]
    pub(crate) fn tick() -> Tick {
        let (clock, origin) = &*COUNTER;
        Tick(Tick::ORIGIN + clock.delta_as_nanos(*origin, clock.raw()))
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        Self::tick().since(Tick(Tick::ORIGIN))
    }
}

/// Follows `tokio::time::Instant`, so also tokio's paused time
/// (`#[tokio::test(start_paused = true)]`).
///
/// The wall clock moves along with it from the moment at which the clock was made.
///
/// Outside a paused runtime this is the system's monotonic clock, slower to read than
/// [`SystemClock`]: meant for tests.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    origin: tokio::time::Instant,
    wall_origin: SystemTime,
}

impl TokioClock {
    /// A clock that starts now. Call it inside the runtime whose time it should follow.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: tokio::time::Instant::now(), wall_origin: SystemTime::now() }
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

/// A clock that stands still until a test moves it. Clones share one time.
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
    /// A clock whose wall time is 2023-11-14 22:13:20 UTC (1,700,000,000 seconds since 1970).
    #[must_use]
    pub fn new() -> Self {
        Self::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
    }

    /// A clock that starts anew at the given wall time, as that of a restarted process does.
    #[must_use]
    pub fn starting_at(wall: SystemTime) -> Self {
        Self { time: Arc::new(Mutex::new(ManualTime { now: Duration::ZERO, wall })) }
    }

    /// Lets time pass, on both clocks.
    pub fn advance(&self, by: Duration) {
        self.with(|time| {
            time.now = time.now.saturating_add(by);
            time.wall = time.wall.checked_add(by).unwrap_or(time.wall);
        });
    }

    /// Makes the wall clock jump. The monotonic time stays.
    pub fn set_wall(&self, wall: SystemTime) {
        self.with(|time| time.wall = wall);
    }

    /// What the wall clock shows.
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

/// A breaker's clock: the system's, which costs no lock to reach, or one of the user's own.
#[derive(Clone, Default)]
pub(crate) enum TimeSource {
    #[default]
    System,
    Custom(Arc<dyn Clock>),
}

impl TimeSource {
    pub(crate) fn now(&self) -> Tick {
        match self {
            Self::System => SystemClock::tick(),
            Self::Custom(clock) => Tick::new(clock.now()),
        }
    }

    pub(crate) fn wall(&self) -> SystemTime {
        match self {
            Self::System => SystemClock.wall(),
            Self::Custom(clock) => clock.wall(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_keeps_pace_with_the_operating_system() {
        use std::time::Instant;

        // A time within ours and one around it, however long a thread is kept from going on.
        let (outer, tick, inner) = (Instant::now(), SystemClock::tick(), Instant::now());
        std::thread::sleep(Duration::from_millis(30));
        let (least, ours, most) =
            (inner.elapsed(), SystemClock::tick().since(tick), outer.elapsed());
        let leeway = Duration::from_millis(1);
        assert!(ours + leeway >= least, "{ours:?} against {least:?}");
        assert!(ours <= most + leeway, "{ours:?} against {most:?}");
    }

    #[test]
    fn a_manual_clock_moves_both_times_and_jumps_only_the_wall() {
        let clock = ManualClock::new();
        let start = clock.wall();
        clock.advance(Duration::from_secs(3));
        assert_eq!(clock.now(), Duration::from_secs(3));
        assert_eq!(clock.wall(), start + Duration::from_secs(3));
        clock.set_wall(start);
        assert_eq!(clock.now(), Duration::from_secs(3));
        assert_eq!(clock.wall(), start);
    }

    #[tokio::test(start_paused = true)]
    async fn the_tokio_clock_follows_paused_time() {
        let clock = TokioClock::new();
        let wall = clock.wall();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(clock.now(), Duration::from_secs(60));
        assert_eq!(clock.wall(), wall + Duration::from_secs(60));
    }
}
