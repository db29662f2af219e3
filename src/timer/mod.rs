//! Waiting for a time: timers for tasks, and the thread that does at its time what time alone
//! causes.

pub(crate) mod housekeeping;

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, Sleep, sleep_until},
};

use self::housekeeping::Sleeper;
use crate::clock::{SystemClock, Tick};

/// A timer that wakes a task after a time, and can be reset.
///
/// It is bound to no runtime: each poll may come from another one, or from none.
#[derive(Debug)]
pub(crate) struct Timer {
    follows_tokio: bool,
    state: TimerState,
    /// Boxed once, so that what holds a timer stays `Unpin`.
    sleep: Option<Pin<Box<Sleep>>>,
    sleeper: Sleeper,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimerState {
    Unset,
    /// `sleep` knows when it fires.
    OnTokio,
    /// The housekeeping thread wakes the task.
    OnThread(Tick),
}

impl Timer {
    /// A timer that follows tokio's time in a tokio runtime, which may be paused, and the
    /// machine's time elsewhere.
    pub(crate) const fn new() -> Self {
        Self::with(true)
    }

    /// A timer that follows the machine's time, and needs no runtime.
    pub(crate) const fn on_system_time() -> Self {
        Self::with(false)
    }

    const fn with(follows_tokio: bool) -> Self {
        Self { follows_tokio, state: TimerState::Unset, sleep: None, sleeper: Sleeper::new() }
    }

    #[cfg(feature = "http")]
    pub(crate) fn is_set(&self) -> bool {
        self.state != TimerState::Unset
    }

    /// Starts the timer. A deadline that the clock cannot represent is never reached.
    pub(crate) fn set(&mut self, after: Duration) {
        if self.follows_tokio && Handle::try_current().is_ok() {
            // Some thirty years, as tokio itself does.
            let far_future = || Instant::now() + Duration::from_secs(30 * 365 * 24 * 3600);
            self.set_on_tokio(Instant::now().checked_add(after).unwrap_or_else(far_future));
        } else {
            self.state = TimerState::OnThread(SystemClock::tick().after(after));
        }
    }

    /// A new [`Sleep`] belongs to the runtime that polls now. The old one's may be gone.
    fn set_on_tokio(&mut self, deadline: Instant) {
        match &mut self.sleep {
            Some(sleep) => sleep.set(sleep_until(deadline)),
            None => self.sleep = Some(Box::pin(sleep_until(deadline))),
        }
        self.state = TimerState::OnTokio;
    }

    pub(crate) fn unset(&mut self) {
        self.state = TimerState::Unset;
        self.sleeper.cancel();
    }

    /// Ready once, when the time is over; the timer is unset then.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_over = match (self.state, &mut self.sleep) {
            (TimerState::OnTokio, Some(sleep)) => {
                let deadline = sleep.deadline();
                if Handle::try_current().is_ok() {
                    self.set_on_tokio(deadline);
                    self.poll_on_tokio(cx)
                } else {
                    // From here on without tokio.
                    let left = deadline.saturating_duration_since(Instant::now());
                    self.poll_on_thread(SystemClock::tick().after(left), cx)
                }
            }
            (TimerState::OnThread(at), _) => self.poll_on_thread(at, cx),
            (TimerState::Unset | TimerState::OnTokio, _) => false,
        };
        if !is_over {
            return Poll::Pending;
        }
        self.unset();
        Poll::Ready(())
    }

    fn poll_on_tokio(&mut self, cx: &mut Context<'_>) -> bool {
        self.sleep.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready())
    }

    fn poll_on_thread(&mut self, at: Tick, cx: &Context<'_>) -> bool {
        self.state = TimerState::OnThread(at);
        if SystemClock::tick() >= at {
            return true;
        }
        self.sleeper.wake_at(at, cx.waker());
        false
    }

    /// Waits for this time.
    pub(crate) async fn sleep(&mut self, time: Duration) {
        self.set(time);
        poll_fn(|cx| self.poll(cx)).await;
    }
}
