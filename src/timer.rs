use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, Sleep},
};

/// A timer that wakes a task after a time, and can be reset.
///
/// Without a tokio runtime it never fires: the task is then woken by other callers alone.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    // Boxed once, so that what holds a timer stays `Unpin`.
    sleep: Option<Pin<Box<Sleep>>>,
    set: bool,
}

impl Timer {
    pub(crate) const fn new() -> Self {
        Self { sleep: None, set: false }
    }

    #[cfg(feature = "http")]
    pub(crate) const fn is_set(&self) -> bool {
        self.set
    }

    /// Starts the timer. A deadline that the clock cannot represent is never reached.
    pub(crate) fn set(&mut self, after: Duration) {
        self.set = true;
        let Some(at) = Instant::now().checked_add(after) else {
            self.sleep = None;
            return;
        };
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            None if Handle::try_current().is_ok() => {
                self.sleep = Some(Box::pin(tokio::time::sleep_until(at)));
            }
            None => {}
        }
    }

    pub(crate) fn unset(&mut self) {
        self.set = false;
    }

    /// Ready once, when the time is over; the timer is unset then.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(sleep) = self.sleep.as_mut().filter(|_| self.set) else {
            return Poll::Pending;
        };
        let polled = sleep.as_mut().poll(cx);
        self.set = polled.is_pending();
        polled
    }
}

/// Waits for that time. Without a tokio runtime it only yields once.
pub(crate) async fn pause(time: Duration) {
    if Handle::try_current().is_ok() {
        return tokio::time::sleep(time).await;
    }
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
