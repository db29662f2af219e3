use std::task::{Context, Poll};

use crate::{
    breaker::{cell::Cell, wait_queue::Readiness},
    timer::Timer,
};

/// A place in the line of those who wait for the circuit to admit calls; given up when dropped.
///
/// It has to be dropped before the breaker's handle: with the last one, the cell may go to
/// another breaker, and this place would be one in that breaker's line.
pub(crate) struct Place {
    cell: &'static Cell,
    key: Option<u64>,
    timer: Timer,
}

impl Place {
    pub(crate) fn new(cell: &'static Cell) -> Self {
        Self { cell, key: None, timer: Timer::new() }
    }

    /// Waits for a turn. After it, either the call is made and the place [left](Self::leave), or
    /// the turn goes to another a second later.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.cell.poll_capacity(&mut self.key, cx.waker()) {
            Readiness::Ready => {
                self.timer.unset();
                Poll::Ready(())
            }
            Readiness::Wait(again) => {
                match again {
                    Some(again) => self.timer.set(again),
                    None => self.timer.unset(),
                }
                if self.timer.poll(cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    }

    /// Gives the place up.
    pub(crate) fn leave(&mut self) {
        self.timer.unset();
        if let Some(key) = self.key.take() {
            self.cell.leave_wait_queue(key);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}
