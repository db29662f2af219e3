//! Waiting until the circuit admits calls.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    breaker::{cell::Cell, wait_queue::Readiness},
    clock::LONGEST_SLEEP,
    timer::Timer,
};

/// A place in the queue for the circuit's capacity; released when dropped.
///
/// It must be dropped before the breaker's handle. With the last handle the cell may go to another
/// breaker, and this place would be one in that breaker's queue.
pub(crate) struct WaitHandle {
    cell: &'static Cell,
    key: Option<u64>,
    timer: Timer,
    /// How long the timer may run before the breaker's clock is looked at.
    longest_sleep: Duration,
}

impl WaitHandle {
    pub(crate) fn new(cell: &'static Cell) -> Self {
        // A custom clock may be tokio's, and paused.
        let timer = if cell.has_custom_clock() { Timer::new() } else { Timer::on_system_time() };
        let longest_sleep = if cell.may_outrun_tokio() { LONGEST_SLEEP } else { Duration::MAX };
        Self { cell, key: None, timer, longest_sleep }
    }

    /// Waits until capacity is reserved for this place. The caller makes its call and
    /// [releases](Self::release) the place; otherwise the reservation expires after a second, and
    /// the next in the queue gets the capacity.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.cell.poll_capacity(&mut self.key, cx.waker()) {
            Readiness::Ready => {
                self.timer.unset();
                Poll::Ready(())
            }
            Readiness::Wait { recheck_after } => {
                match recheck_after {
                    // Then the breaker's clock says how much is left.
                    Some(after) => self.timer.set(after.min(self.longest_sleep)),
                    None => self.timer.unset(),
                }
                if self.timer.poll(cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    }

    /// Waits for this time, without a place in the queue.
    pub(crate) async fn pause(&mut self, time: Duration) {
        self.release();
        let until = self.cell.tick().after(time);
        let mut left = time;
        // A clock that is advanced by hand may stand.
        while !left.is_zero() && self.cell.tick() < until {
            let nap = left.min(self.longest_sleep);
            self.timer.sleep(nap).await;
            left -= nap;
        }
    }

    /// Gives up the place and its reservation.
    pub(crate) fn release(&mut self) {
        self.timer.unset();
        if let Some(key) = self.key.take() {
            self.cell.leave_wait_queue(key);
        }
    }
}

impl Drop for WaitHandle {
    fn drop(&mut self) {
        self.release();
    }
}
