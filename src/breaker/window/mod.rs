//! The calls that a rate looks at: the last so many, or those of the last so long.

mod count;
mod time;

use std::time::Duration;

pub(crate) use self::{count::CountWindow, time::TimeWindow};
use crate::{clock::Tick, config, snapshot::WindowContent};

/// One recorded call, as a window sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) failed: bool,
    pub(crate) slow: bool,
}

/// How many calls, and how many of them went wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    pub(crate) slow_calls: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failures = self.failures.saturating_add(other.failures);
        self.slow_calls = self.slow_calls.saturating_add(other.slow_calls);
    }

    fn subtract(&mut self, other: Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.failures = self.failures.saturating_sub(other.failures);
        self.slow_calls = self.slow_calls.saturating_sub(other.slow_calls);
    }

    fn of(call: Call) -> Self {
        Self { calls: 1, failures: u64::from(call.failed), slow_calls: u64::from(call.slow) }
    }
}

#[derive(Debug)]
pub(crate) enum Window {
    Count(CountWindow),
    Time(Box<TimeWindow>),
}

impl Window {
    pub(crate) fn new(window: config::Window, now: Tick) -> Self {
        match window {
            config::Window::Calls(calls) => Self::Count(CountWindow::new(calls)),
            config::Window::Time(time) => Self::Time(Box::new(TimeWindow::new(time, now))),
        }
    }

    #[inline]
    pub(crate) fn record(&mut self, call: Call, now: Tick) {
        match self {
            Self::Count(window) => window.record(call),
            Self::Time(window) => window.add(Counts::of(call), now),
        }
    }

    /// What the window holds, as of the time it was last brought to.
    #[inline]
    pub(crate) fn counts(&self) -> Counts {
        match self {
            Self::Count(window) => window.counts(),
            Self::Time(window) => window.totals,
        }
    }

    /// Lets what is too old drop out.
    #[inline]
    pub(crate) fn advance(&mut self, now: Tick) {
        if let Self::Time(window) = self {
            window.advance(now);
        }
    }

    /// Whether recording one more success would change nothing that a rule can see, so that it
    /// need not be recorded, or (in a time window) can be added later.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        match self {
            Self::Count(window) => {
                window.length == window.size && window.failures == 0 && window.slow_calls == 0
            }
            Self::Time(window) => window.totals.failures == 0 && window.totals.slow_calls == 0,
        }
    }

    pub(crate) fn clear(&mut self, now: Tick) {
        match self {
            Self::Count(window) => window.clear(),
            Self::Time(window) => **window = TimeWindow::empty(window.width, now),
        }
    }

    pub(crate) fn content(&self, now: Tick) -> WindowContent {
        match self {
            Self::Count(window) => WindowContent::Results(window.run_lengths()),
            Self::Time(window) => WindowContent::Buckets(window.buckets(now)),
        }
    }

    /// Takes over what another window held. A count window does not know times, nor a time
    /// window an order, so neither can take over the other's content: it stays empty.
    pub(crate) fn adopt(&mut self, content: &WindowContent, now: Tick, downtime: Duration) {
        match (self, content) {
            (Self::Count(window), WindowContent::Results(run_lengths)) => window.adopt(run_lengths),
            (Self::Time(window), WindowContent::Buckets(buckets)) => {
                window.adopt(buckets, now, downtime);
            }
            _ => {}
        }
    }
}
