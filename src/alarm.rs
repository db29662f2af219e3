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

/// Wakes a task after a time, again and again.
///
/// Without a tokio runtime it never does: who waits then is woken by others alone.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    // Boxed once, so that what holds an alarm stays `Unpin`.
    sleep: Option<Pin<Box<Sleep>>>,
    set: bool,
}

impl Alarm {
    pub(crate) const fn new() -> Self {
        Self { sleep: None, set: false }
    }

    #[cfg(feature = "http")]
    pub(crate) const fn is_set(&self) -> bool {
        self.set
    }

    /// Sets the alarm, to so long from now. A time that the clock has no number for is never.
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

    /// Ready once, when the time is over; then the alarm is not set any more.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(sleep) = self.sleep.as_mut().filter(|_| self.set) else {
            return Poll::Pending;
        };
        let polled = sleep.as_mut().poll(cx);
        self.set = polled.is_pending();
        polled
    }
}

/// Lets that time pass. Without a tokio runtime it only lets others go first.
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
