use std::time::Duration;

/// What a call came to, as a breaker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The dependency did its work.
    Success,
    /// The dependency failed.
    Failure {
        /// When the dependency asked to be called again, from now on. Followed only with a
        /// [`Backoff`](crate::Backoff).
        retry_after: Option<Duration>,
    },
    /// The dependency is well and refuses for now: HTTP 429, gRPC `RESOURCE_EXHAUSTED`.
    ///
    /// It counts as failed in rates and fails a probe, but neither lengthens nor breaks a row
    /// of consecutive failures.
    Throttled {
        /// When the dependency asked to be called again, from now on. Followed only with a
        /// [`Backoff`](crate::Backoff).
        retry_after: Option<Duration>,
    },
    /// The call says nothing about the dependency, and counts as nothing.
    Ignore,
}

impl Outcome {
    /// A failure that does not say when to come back.
    #[must_use]
    pub const fn failure() -> Self {
        Self::Failure { retry_after: None }
    }

    /// A throttled call that does not say when to come back.
    #[must_use]
    pub const fn throttled() -> Self {
        Self::Throttled { retry_after: None }
    }

    /// When the dependency asked to be called again.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match *self {
            Self::Failure { retry_after } | Self::Throttled { retry_after } => retry_after,
            Self::Success | Self::Ignore => None,
        }
    }
}
