//! Notices a body that keeps its reader waiting for too long.

use std::{num::NonZeroU64, task::Context, time::Duration};

use crate::timer::Timer;

/// Measures how long a body keeps its reader waiting.
pub(super) struct Stall {
    /// In nanoseconds.
    timeout: Option<NonZeroU64>,
    timer: Timer,
}

impl Stall {
    pub(super) const NONE: Self = Self { timeout: None, timer: Timer::new() };

    pub(super) fn new(timeout: Option<Duration>) -> Self {
        // Longer than 584 years: never.
        let nanos = timeout.and_then(|timeout| u64::try_from(timeout.as_nanos()).ok());
        let timeout = nanos.map(|nanos| NonZeroU64::new(nanos).unwrap_or(NonZeroU64::MIN));
        Self { timeout, ..Self::NONE }
    }

    /// Called while the reader waits. Returns whether it has waited for too long.
    pub(super) fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(timeout) = self.timeout else { return false };
        if !self.timer.is_set() {
            self.timer.set(Duration::from_nanos(timeout.get()));
        }
        self.timer.poll(cx).is_ready()
    }

    /// Called when a frame arrives.
    pub(super) fn end(&mut self) {
        self.timer.unset();
    }
}
