/// The counts of a breaker at one moment.
///
/// They are those that its rules decide by: successes that cannot change a decision are not
/// counted (that is what makes a healthy call free), so these are no totals of the traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    pub(crate) slow_calls: u64,
    pub(crate) consecutive_failures: u32,
    pub(crate) consecutive_opens: u32,
}

impl Stats {
    /// The calls in the window of the first rate rule; 0 without one.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// The failed (or throttled) ones among them; without a rate rule, the failures in a row.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// The slow ones among them; 0 without a slow-call rule.
    #[must_use]
    pub fn slow_calls(&self) -> u64 {
        self.slow_calls
    }

    /// The failures with no success between them.
    #[must_use]
    pub fn consecutive_failures(&self) -> u32 {
        self.consecutive_failures
    }

    /// How often the circuit has opened without closing in between.
    #[must_use]
    pub fn consecutive_opens(&self) -> u32 {
        self.consecutive_opens
    }
}
