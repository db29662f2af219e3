//! A breaker's clock, whichever it is.

use std::{any::TypeId, sync::Arc, time::SystemTime};

use super::{
    Clock,
    sources::wall,
    system::SystemClock,
    tick::{Reading, Tick},
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

impl<C: Clock> CustomClock for C {
    fn reading(&self) -> Reading {
        Reading { tick: self.tick(), wall: self.wall() }
    }

    fn tick(&self) -> Tick {
        Tick::new(self.now())
    }

    fn wall_clock(&self) -> SystemTime {
        self.wall()
    }

    fn may_outrun_tokio(&self) -> bool {
        TypeId::of::<C>() != TypeId::of::<TokioClock>()
    }
}

impl TimeSource {
    pub(crate) fn custom(clock: impl Clock) -> Self {
        Self::Custom(Arc::new(clock))
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

    /// Whether it may move while tokio's timers stand, for instance while the machine is suspended.
    pub(crate) fn may_outrun_tokio(&self) -> bool {
        match self {
            Self::System => true,
            Self::Custom(clock) => clock.may_outrun_tokio(),
        }
    }
}
