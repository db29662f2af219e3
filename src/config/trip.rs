use std::time::Duration;

use serde::Serialize;

/// A rule that opens the circuit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trip {
    /// Trips at this many failures without a success in between. At least 1.
    ConsecutiveFailures(u32),
    /// Trips on the share of failed calls in a window.
    #[non_exhaustive]
    FailureRate {
        /// The share at which the rule trips. Above 0, at most 1.
        threshold: f64,
        /// The calls to look at.
        window: Window,
        /// How many calls the window must hold before the rule applies. A smaller count window
        /// applies once it is full. Default: 20. At least 1.
        minimum_calls: u32,
    },
    /// Trips on the share of slow calls in a window.
    #[non_exhaustive]
    SlowCallRate {
        /// The share at which the rule trips. Above 0, at most 1.
        threshold: f64,
        /// A call that takes longer than this is slow. Above zero, at most 365 days.
        #[serde(with = "humantime_serde")]
        slower_than: Duration,
        /// The calls to look at.
        window: Window,
        /// How many calls the window must hold before the rule applies. A smaller count window
        /// applies once it is full. Default: 20. At least 1.
        minimum_calls: u32,
    },
}

impl Trip {
    pub(crate) const DEFAULT_MINIMUM_CALLS: u32 = 20;

    /// Trips at the given number of consecutive failures.
    #[must_use]
    pub const fn consecutive_failures(failures: u32) -> Self {
        Self::ConsecutiveFailures(failures)
    }

    /// Trips when the share of failed calls in the window reaches `threshold`, once the window
    /// holds 20 calls (change that with [`minimum_calls`](Self::minimum_calls)).
    #[must_use]
    pub const fn failure_rate(threshold: f64, window: Window) -> Self {
        Self::FailureRate { threshold, window, minimum_calls: Self::DEFAULT_MINIMUM_CALLS }
    }

    /// Trips when the share of calls in the window that took longer than `slower_than` reaches
    /// `threshold`, once the window holds 20 calls (change that with
    /// [`minimum_calls`](Self::minimum_calls)).
    #[must_use]
    pub const fn slow_call_rate(threshold: f64, slower_than: Duration, window: Window) -> Self {
        Self::SlowCallRate {
            threshold,
            slower_than,
            window,
            minimum_calls: Self::DEFAULT_MINIMUM_CALLS,
        }
    }

    /// Sets how many calls the window of a rate must hold before the rule applies. Has no effect
    /// on a rule of consecutive failures, which has no window.
    #[must_use]
    pub const fn minimum_calls(mut self, calls: u32) -> Self {
        match &mut self {
            Self::ConsecutiveFailures(_) => {}
            Self::FailureRate { minimum_calls, .. } | Self::SlowCallRate { minimum_calls, .. } => {
                *minimum_calls = calls;
            }
        }
        self
    }
}

/// The calls that a rate is computed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Window {
    /// The last N calls, from 1 to 1,000,000. Takes a quarter of a byte per call.
    Calls(u32),
    /// The calls within a time, from 1 ms to 365 days. Takes about a kilobyte, whatever the
    /// traffic; a call leaves the window at that age, or up to a fortieth of the time earlier.
    #[serde(with = "humantime_serde")]
    Time(Duration),
}

impl Window {
    /// The last `calls` calls.
    #[must_use]
    pub const fn calls(calls: u32) -> Self {
        Self::Calls(calls)
    }

    /// The calls within the last `time`.
    #[must_use]
    pub const fn time(time: Duration) -> Self {
        Self::Time(time)
    }
}
