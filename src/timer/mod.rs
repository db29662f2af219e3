//! Waiting for a time: timers for tasks, and the thread that does at its time what time alone
//! causes.

pub(crate) mod housekeeping;

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
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
    /// Boxed once, so that what holds a timer is small and stays `Unpin`.
    pending: Option<Pin<Box<Deadline>>>,
}

pin_project! {
    #[derive(Debug)]
    struct Deadline {
        state: DeadlineState,
        #[pin]
        sleep: Option<Sleep>,
        sleeper: Sleeper,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeadlineState {
    Unset,
    /// `sleep` knows the time.
    OnTokio,
    /// The timer thread wakes the task.
    OnThread(Tick),
}

impl Timer {
    /// A timer that follows tokio's time where a test has paused it, and the machine's time
    /// otherwise.
    pub(crate) const fn new() -> Self {
        Self { follows_tokio: true, pending: None }
    }

    /// A timer that follows the machine's time, and needs no runtime.
    pub(crate) const fn on_system_time() -> Self {
        Self { follows_tokio: false, pending: None }
    }

    #[allow(dead_code, reason = "used where bodies are watched")]
    pub(crate) fn is_set(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.state != DeadlineState::Unset)
    }

    /// Starts the timer. A deadline that the clock cannot represent is never reached.
    pub(crate) fn set(&mut self, after: Duration) {
        let pending = self.pending.get_or_insert_with(|| Box::pin(Deadline::new()));
        if self.follows_tokio && is_in_paused_runtime() {
            // Some thirty years, as tokio itself does.
            let far_future = || Instant::now() + Duration::from_secs(30 * 365 * 24 * 3600);
            let deadline = Instant::now().checked_add(after).unwrap_or_else(far_future);
            pending.as_mut().set_on_tokio(deadline);
        } else {
            *pending.as_mut().project().state =
                DeadlineState::OnThread(SystemClock::tick().after(after));
        }
    }

    pub(crate) fn unset(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.as_mut().unset();
        }
    }

    /// Ready once, when the time is over; the timer is unset then.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pending) = &mut self.pending else { return Poll::Pending };
        if !pending.as_mut().is_over(cx) {
            return Poll::Pending;
        }
        pending.as_mut().unset();
        Poll::Ready(())
    }

    /// Waits for this time.
    pub(crate) async fn sleep(&mut self, time: Duration) {
        self.set(time);
        poll_fn(|cx| self.poll(cx)).await;
    }
}

/// Whether this is a runtime whose time is paused, or was: only then does tokio's time differ from
/// the machine's.
///
/// Otherwise tokio's timers are not used: in a runtime without them, to ask for one panics. A
/// runtime whose time is paused has them.
fn is_in_paused_runtime() -> bool {
    if Handle::try_current().is_err() {
        return false;
    }
    let before = std::time::Instant::now();
    let tokio = Instant::now().into_std();
    !(before..=std::time::Instant::now()).contains(&tokio)
}

impl Deadline {
    const fn new() -> Self {
        Self { state: DeadlineState::Unset, sleep: None, sleeper: Sleeper::new() }
    }

    fn unset(self: Pin<&mut Self>) {
        let this = self.project();
        *this.state = DeadlineState::Unset;
        this.sleeper.cancel();
    }

    /// A new [`Sleep`] belongs to the runtime that polls now. That of the old one may be gone.
    fn set_on_tokio(self: Pin<&mut Self>, deadline: Instant) {
        let mut this = self.project();
        this.sleep.set(Some(sleep_until(deadline)));
        *this.state = DeadlineState::OnTokio;
    }

    fn is_over(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        match (self.state, self.sleep.as_ref().map(Sleep::deadline)) {
            (DeadlineState::OnTokio, Some(deadline)) if is_in_paused_runtime() => {
                self.as_mut().set_on_tokio(deadline);
                let sleep = self.project().sleep.as_pin_mut();
                sleep.is_some_and(|sleep| sleep.poll(cx).is_ready())
            }
            (DeadlineState::OnTokio, Some(deadline)) => {
                // From here on without tokio.
                let left = deadline.saturating_duration_since(Instant::now());
                self.is_over_on_thread(SystemClock::tick().after(left), cx)
            }
            (DeadlineState::OnThread(at), _) => self.is_over_on_thread(at, cx),
            (DeadlineState::Unset | DeadlineState::OnTokio, _) => false,
        }
    }

    fn is_over_on_thread(self: Pin<&mut Self>, at: Tick, cx: &Context<'_>) -> bool {
        let this = self.project();
        *this.state = DeadlineState::OnThread(at);
        if SystemClock::tick() >= at {
            return true;
        }
        this.sleeper.wake_at(at, cx.waker());
        false
    }
}
