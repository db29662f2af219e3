/// The counts of a breaker at one moment.
///
/// These are the counts that its rules decide by. A success that cannot change a decision is not
/// counted, which is what makes a healthy call free, so they are not totals of the traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    pub(crate) window_calls: u64,
    pub(crate) window_failures: u64,
    pub(crate) window_slow_calls: u64,
    pub(crate) consecutive_failures: u32,
    pub(crate) consecutive_opens: u32,
    pub(crate) failures: Option<Share>,
    pub(crate) slow_calls: Option<Share>,
}

/// A share of the calls in a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) part: u64,
    pub(crate) calls: u64,
}

impl Share {
    /// From 0 to 1; 0 of an empty window.
    pub(crate) fn ratio(self) -> f64 {
        if self.calls == 0 { 0.0 } else { self.part as f64 / self.calls as f64 }
    }
}

impl Stats {
    /// The number of calls in the window of the first rate rule; 0 without a rate rule.
    #[must_use]
    pub fn window_calls(&self) -> u64 {
        self.window_calls
    }

    /// The number of failed or throttled calls in the window of the first rate rule; 0 without a
    /// rate rule.
    #[must_use]
    pub fn window_failures(&self) -> u64 {
        self.window_failures
    }

    /// The number of slow calls in the window of the first rate rule; 0 without a slow-call rule.
    #[must_use]
    pub fn window_slow_calls(&self) -> u64 {
        self.window_slow_calls
    }

    /// The share of failed or throttled calls in the window of the first failure-rate rule, from 0
    /// to 1. `None` without such a rule, and 0 while the window is empty.
    #[must_use]
    pub fn failure_ratio(&self) -> Option<f64> {
        self.failures.map(Share::ratio)
    }

    /// The share of slow calls in the window of the first slow-call rule, from 0 to 1. `None`
    /// without such a rule, and 0 while the window is empty.
    #[must_use]
    pub fn slow_call_ratio(&self) -> Option<f64> {
        self.slow_calls.map(Share::ratio)
    }

    /// The number of failures since the last success.
    #[must_use]
    pub fn consecutive_failures(&self) -> u32 {
        self.consecutive_failures
    }

    /// How often the circuit has opened since it was last closed.
    #[must_use]
    pub fn consecutive_opens(&self) -> u32 {
        self.consecutive_opens
    }
}
