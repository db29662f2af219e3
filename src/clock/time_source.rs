//! A breaker's clock, whichever it is.

use std::{
    any::TypeId,
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::{Duration, SystemTime},
};

use super::{
    Clock,
    sources::wall,
    system::SystemClock,
    tick::{Reading, Tick, nanos},
    tokio::TokioClock,
};

/// A breaker's clock: the system's, which is read without a lock, or a custom one.
#[derive(Clone, Default)]
pub(crate) enum TimeSource {
    #[default]
    System,
    Custom(Arc<dyn CustomClock>),
}

/// A [`Clock`] that knows its type.
pub(crate) trait CustomClock: Send + Sync {
    fn reading(&self) -> Reading;

    fn tick(&self) -> Tick;

    fn wall_clock(&self) -> SystemTime;

    /// As [`TimeSource::may_outrun_tokio`].
    fn may_outrun_tokio(&self) -> bool;
}

/// A clock that goes back by less than this has only been read on another processor, whose counter
/// is behind. It is not corrected, and so the time stands for that long: what processors differ by
/// would be added with each such reading.
const SKEW: u64 = nanos(Duration::from_millis(100));

/// A clock that continues where it was if it goes back.
struct Steady<C> {
    clock: C,
    /// The latest time that was read, in nanoseconds.
    latest: AtomicU64,
    /// How far the clock has gone back, in nanoseconds. It is added to what the clock says.
    gone_back: AtomicU64,
}

impl<C: Clock> CustomClock for Steady<C> {
    fn reading(&self) -> Reading {
        Reading { tick: self.tick(), wall: self.clock.wall() }
    }

    fn tick(&self) -> Tick {
        // Read before the clock: what it says then is not earlier, unless it has gone back.
        let latest = self.latest.load(Acquire);
        let gone_back = self.gone_back.load(Acquire);
        let now = Tick::new(self.clock.now()).as_nanos().saturating_add(gone_back);
        if now >= latest {
            self.latest.fetch_max(now, Release);
            return Tick::from_nanos(now);
        }
        if latest - now <= SKEW {
            return Tick::from_nanos(latest);
        }
        // Of several threads that notice it, one corrects it.
        let corrected = gone_back.saturating_add(latest - now);
        let _ = self.gone_back.compare_exchange(gone_back, corrected, Release, Relaxed);
        Tick::from_nanos(latest)
    }

    fn wall_clock(&self) -> SystemTime {
        self.clock.wall()
    }

    fn may_outrun_tokio(&self) -> bool {
        TypeId::of::<C>() != TypeId::of::<TokioClock>()
    }
}

impl TimeSource {
    pub(crate) fn custom(clock: impl Clock) -> Self {
        let (latest, gone_back) = (AtomicU64::new(0), AtomicU64::new(0));
        Self::Custom(Arc::new(Steady { clock, latest, gone_back }))
    }

    pub(crate) fn now(&self) -> Tick {
        match self {
            Self::System => SystemClock::tick(),
            Self::Custom(clock) => clock.tick(),
        }
    }

    pub(crate) fn wall(&self) -> SystemTime {
        match self {
            Self::System => wall(),
            Self::Custom(clock) => clock.wall_clock(),
        }
    }

    pub(crate) fn reading(&self) -> Reading {
        match self {
            Self::System => Reading { tick: SystemClock::tick(), wall: wall() },
            Self::Custom(clock) => clock.reading(),
        }
    }

    /// The time since `tick` by the system's clock, or, by a clock that does not share it, since
    /// `wall`, which is what that clock said.
    pub(crate) fn elapsed(&self, tick: Tick, wall: SystemTime) -> Duration {
        match self {
            Self::System => {
                Duration::from_nanos(SystemClock::tick().as_nanos().saturating_sub(tick.as_nanos()))
            }
            Self::Custom(clock) => clock.wall_clock().duration_since(wall).unwrap_or_default(),
        }
    }

    /// Whether it may move while tokio's timers stand, for instance while the machine is suspended.
    pub(crate) fn may_outrun_tokio(&self) -> bool {
        match self {
            Self::System => true,
            Self::Custom(clock) => clock.may_outrun_tokio(),
        }
    }
}
