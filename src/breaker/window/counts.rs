//! What a window counts.

/// A recorded call, as a window sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) failed: bool,
    pub(crate) slow: bool,
}

/// How many calls there were, and how many of them failed or were slow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    pub(crate) slow_calls: u64,
}

impl Sample {
    /// A failure that was not slow.
    pub(crate) const FAILURE: Self = Self { failed: true, slow: false };
}

impl Counts {
    pub(super) fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failures = self.failures.saturating_add(other.failures);
        self.slow_calls = self.slow_calls.saturating_add(other.slow_calls);
    }

    pub(super) fn subtract(&mut self, other: Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.failures = self.failures.saturating_sub(other.failures);
        self.slow_calls = self.slow_calls.saturating_sub(other.slow_calls);
    }
}

impl From<Sample> for Counts {
    fn from(sample: Sample) -> Self {
        Self { calls: 1, failures: u64::from(sample.failed), slow_calls: u64::from(sample.slow) }
    }
}
