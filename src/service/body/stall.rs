use std::{task::Context, time::Duration};

use crate::alarm::Alarm;

/// Measures how long a body keeps its reader waiting.
pub(super) struct Stall {
    timeout: Option<Duration>,
    alarm: Alarm,
}

impl Stall {
    pub(super) const fn new(timeout: Option<Duration>) -> Self {
        Self { timeout, alarm: Alarm::new() }
    }

    /// The reader waits. Whether it has waited for too long.
    pub(super) fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(timeout) = self.timeout else { return false };
        if !self.alarm.is_set() {
            self.alarm.set(timeout);
        }
        self.alarm.poll(cx).is_ready()
    }

    /// Something came.
    pub(super) fn end(&mut self) {
        self.alarm.unset();
    }
}
