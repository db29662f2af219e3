//! The source of time.
//!
//! A breaker uses two clocks: a monotonic one, by which it decides, and the wall clock, with which
//! a snapshot tells a later process when the circuit opened. By default it reads both from the
//! machine ([`SystemClock`]). Tests advance time by hand with [`ManualClock`], or follow tokio's
//! paused time with [`TokioClock`].
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
/// Zero is a hundred years before the clock's own origin, so that everything in a snapshot,
/// however old, has a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u64);

impl Tick {
    const ORIGIN: u64 = 100 * NANOS_PER_YEAR;
    /// Later than any other tick.
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

    /// The time since `earlier`; zero if that is in the future.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// The same in nanoseconds, without the division that a [`Duration`] takes.
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

/// A source of time.
///
/// A breaker reads a custom clock while its lock is held, so reading it must be fast, and must not
/// call the breaker.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a clock",
    note = "use `SystemClock` (the default), `TokioClock::new()` or `ManualClock::new()`, or \
            implement `Clock`"
)]
pub trait Clock: Send + Sync + 'static {
    /// The time since a fixed origin of the clock's choice. It never goes back.
    fn now(&self) -> Duration;

    /// The wall clock. It may jump: a breaker reads it only to write and restore snapshots and to
    /// date its events.
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// The machine's clocks: the default.
///
/// The monotonic time comes from the processor's time-stamp counter where that is reliable (read
/// through the crate `quanta`), otherwise from the operating system.
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

/// Follows `tokio::time::Instant`, and thus tokio's paused time
/// (`#[tokio::test(start_paused = true)]`). Meant for tests.
///
/// The wall clock advances with it from the moment at which this clock was created. Outside a
/// paused runtime this is the system's monotonic clock, slower to read than [`SystemClock`].
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    origin: tokio::time::Instant,
    wall_origin: SystemTime,
}

impl TokioClock {
    /// Creates a clock that starts now. Call it inside the runtime whose time it follows.
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

/// A breaker's clock: the system's, which is read without a lock, or a custom one.
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

    pub(crate) fn reading(&self) -> Reading {
        Reading { tick: self.now(), wall: self.wall() }
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
