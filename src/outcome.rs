use std::time::Duration;

/// The result of a call, as a breaker counts it.
///
/// ```
/// use std::time::Duration;
/// use tower_breaker::Outcome;
///
/// let failure = Outcome::failure().with_retry_after(Duration::from_secs(30));
/// assert_eq!(failure.retry_after(), Some(Duration::from_secs(30)));
/// assert_eq!(Outcome::Success.retry_after(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The dependency did its work.
    Success,
    /// The dependency failed. Created with [`Outcome::failure`].
    #[non_exhaustive]
    Failure {
        /// The time from now after which the dependency asked to be called again. It is followed
        /// only with a [`Backoff`](crate::Backoff).
        retry_after: Option<Duration>,
    },
    /// The dependency works and refuses calls for now: HTTP 429, gRPC `RESOURCE_EXHAUSTED`.
    /// Created with [`Outcome::throttled`].
    ///
    /// It counts as failed in rates and fails a probe, but neither adds to the consecutive
    /// failures nor resets them.
    #[non_exhaustive]
    Throttled {
        /// The time from now after which the dependency asked to be called again. It is followed
        /// only with a [`Backoff`](crate::Backoff).
        retry_after: Option<Duration>,
    },
    /// The call says nothing about the dependency and is not counted.
    Ignore,
}

impl Outcome {
    /// A failure without a time to retry after.
    #[must_use]
    pub const fn failure() -> Self {
        Self::Failure { retry_after: None }
    }

    /// A throttled call without a time to retry after.
    #[must_use]
    pub const fn throttled() -> Self {
        Self::Throttled { retry_after: None }
    }

    /// Sets the time after which the dependency asked to be called again, or takes it away. The
    /// other outcomes have none and stay as they are.
    #[must_use]
    pub fn with_retry_after(mut self, after: impl Into<Option<Duration>>) -> Self {
        if let Self::Failure { retry_after } | Self::Throttled { retry_after } = &mut self {
            *retry_after = after.into();
        }
        self
    }

    /// The time after which the dependency asked to be called again.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match *self {
            Self::Failure { retry_after } | Self::Throttled { retry_after } => retry_after,
            Self::Success | Self::Ignore => None,
        }
    }
}

/// How a call has ended, for the metrics: each call ends as exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallEnd {
    Success,
    Failure,
    Throttled,
    Ignored,
    /// Without an outcome.
    Cancelled,
    /// Before it began.
    Rejected,
    /// A group of keyed breakers was full, and the call not recorded.
    #[cfg_attr(not(feature = "keyed"), expect(dead_code))]
    Unrecorded,
}

impl From<Outcome> for CallEnd {
    #[inline]
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::Failure { .. } => Self::Failure,
            Outcome::Throttled { .. } => Self::Throttled,
            Outcome::Ignore => Self::Ignored,
        }
    }
}
