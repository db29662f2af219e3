use std::{task::Context, time::Duration};

use crate::timer::Timer;

/// Measures how long a body keeps its reader waiting.
pub(super) struct Stall {
    timeout: Option<Duration>,
    timer: Timer,
}

impl Stall {
    pub(super) const fn new(timeout: Option<Duration>) -> Self {
        Self { timeout, timer: Timer::new() }
    }

    /// Called while the reader waits. Returns whether it has waited for too long.
    pub(super) fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(timeout) = self.timeout else { return false };
        if !self.timer.is_set() {
            self.timer.set(timeout);
        }
        self.timer.poll(cx).is_ready()
    }

    /// Called when a frame arrives.
    pub(super) fn end(&mut self) {
        self.timer.unset();
    }
}
