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
