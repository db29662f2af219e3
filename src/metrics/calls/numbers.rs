//! The numbers of a breaker, as values.

use std::time::Duration;

use crate::{
    event::{PreventedBy, Reason},
    outcome::CallEnd,
    state::State,
};

/// Every state, in the order of [`state_index`].
pub(super) const STATES: [State; 6] = [
    State::Closed,
    State::Open,
    State::HalfOpen,
    State::ForcedOpen,
    State::Disabled,
    State::MetricsOnly,
];

pub(super) const fn state_index(state: State) -> usize {
    match state {
        State::Closed => 0,
        State::Open => 1,
        State::HalfOpen => 2,
        State::ForcedOpen => 3,
        State::Disabled => 4,
        State::MetricsOnly => 5,
    }
}

/// What a breaker has counted since it was built: see
/// [`Breaker::metrics`](crate::Breaker::metrics).
///
/// ```
/// use tower_breaker::Breaker;
///
/// let breaker = Breaker::builder("mailer").build()?;
/// breaker.try_acquire()?.success();
/// let metrics = breaker.metrics().expect("calls are counted by default");
/// assert_eq!(metrics.calls.success, 1);
/// assert_eq!(metrics.calls.total(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct BreakerMetrics {
    /// The calls that have ended, by how they ended.
    pub calls: CallCounts,
    /// The calls of keys that were admitted and not recorded, because their group of keyed breakers
    /// was full. They are not among the `calls`.
    pub unrecorded_calls: u64,
    /// The calls that were slow to a slow-call rule, whatever their outcome. A result that comes
    /// after a transition is of no interest to the rules, and not among them.
    pub slow_calls: u64,
    /// The probes of half-open circuits, by how they ended. They are among the `calls` too, unless
    /// they are health checks.
    pub probes: ProbeCounts,
    /// How often a rule would have opened the circuit, by what has prevented it: one for each
    /// [`Event::WouldTrip`](crate::Event::WouldTrip).
    pub prevented: PreventedCounts,
    /// The transitions, in the order of their first occurrence.
    pub transitions: Vec<TransitionCount>,
    /// The share of failed or throttled calls in the window of the first failure-rate rule. `None`
    /// without such a rule, and 0 while the window is empty.
    pub failure_ratio: Option<f64>,
    /// The share of slow calls in the window of the first slow-call rule. `None` without such a
    /// rule, and 0 while the window is empty.
    pub slow_call_ratio: Option<f64>,
    pub(super) breakers: [u32; STATES.len()],
    pub(super) times: [Duration; STATES.len()],
}

impl BreakerMetrics {
    /// The number of breakers that are in this state now: 0 or 1, unless several breakers have the
    /// same name.
    #[must_use]
    pub const fn breakers_in(&self, state: State) -> u32 {
        self.breakers[state_index(state)]
    }

    /// How long the breaker has been in this state, by the machine's clock. Times of several
    /// breakers with the same name add up.
    #[must_use]
    pub const fn time_in(&self, state: State) -> Duration {
        self.times[state_index(state)]
    }
}

/// Calls that have ended. Each call is one of these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallCounts {
    /// Calls that succeeded.
    pub success: u64,
    /// Calls that failed, among them those that were
    /// [abandoned](crate::Permit#abandoned-calls) late enough to be failures.
    pub failure: u64,
    /// Calls that the dependency refused because of too many calls.
    pub throttled: u64,
    /// Calls that say nothing about the dependency.
    pub ignored: u64,
    /// Calls that ended without an outcome: cancelled or abandoned.
    pub cancelled: u64,
    /// Calls that the breaker rejected.
    pub rejected: u64,
}

impl CallCounts {
    /// All calls.
    #[must_use]
    pub const fn total(&self) -> u64 {
        let Self { success, failure, throttled, ignored, cancelled, rejected } = *self;
        success + failure + throttled + ignored + cancelled + rejected
    }

    /// By the values of the label `outcome`.
    pub(super) const fn by_outcome(&self) -> [(&'static str, u64); 6] {
        [
            ("success", self.success),
            ("failure", self.failure),
            ("throttled", self.throttled),
            ("ignored", self.ignored),
            ("cancelled", self.cancelled),
            ("rejected", self.rejected),
        ]
    }
}

/// Probes that have ended. Each probe is one of these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProbeCounts {
    /// Probes that succeeded in time.
    pub success: u64,
    /// Probes that succeeded and were slow.
    pub slow: u64,
    /// Probes that failed.
    pub failure: u64,
    /// Probes that the dependency refused because of too many calls.
    pub throttled: u64,
    /// Probes that say nothing about the dependency.
    pub ignored: u64,
    /// Probes that ended without an outcome: cancelled or abandoned.
    pub cancelled: u64,
    /// Probes that were still out when the circuit left the half-open state, because another one
    /// decided, because they took too long, or by hand.
    pub unfinished: u64,
}

impl ProbeCounts {
    pub(super) const fn add(&mut self, other: Self) {
        let Self { success, slow, failure, throttled, ignored, cancelled, unfinished } = other;
        self.success += success;
        self.slow += slow;
        self.failure += failure;
        self.throttled += throttled;
        self.ignored += ignored;
        self.cancelled += cancelled;
        self.unfinished += unfinished;
    }

    pub(super) const fn count(&mut self, end: CallEnd, slow: bool) {
        let count = match end {
            CallEnd::Success if slow => &mut self.slow,
            CallEnd::Success => &mut self.success,
            CallEnd::Failure => &mut self.failure,
            CallEnd::Throttled => &mut self.throttled,
            CallEnd::Ignored => &mut self.ignored,
            CallEnd::Cancelled | CallEnd::Rejected | CallEnd::Unrecorded => &mut self.cancelled,
        };
        *count += 1;
    }

    /// By the values of the label `outcome`.
    pub(super) const fn by_outcome(&self) -> [(&'static str, u64); 7] {
        [
            ("success", self.success),
            ("slow", self.slow),
            ("failure", self.failure),
            ("throttled", self.throttled),
            ("ignored", self.ignored),
            ("cancelled", self.cancelled),
            ("unfinished", self.unfinished),
        ]
    }
}

/// How often a rule would have opened a circuit, and something prevented it: see [`PreventedBy`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PreventedCounts {
    /// The circuit was set to metrics only.
    pub metrics_only: u64,
    /// As many circuits of the group were open as its `max_open_ratio` allows.
    pub max_open_ratio: u64,
}

impl PreventedCounts {
    pub(super) const fn add(&mut self, other: Self) {
        let Self { metrics_only, max_open_ratio } = other;
        self.metrics_only += metrics_only;
        self.max_open_ratio += max_open_ratio;
    }

    pub(super) const fn count(&mut self, by: PreventedBy) {
        match by {
            PreventedBy::MetricsOnly => self.metrics_only += 1,
            PreventedBy::MaxOpenRatio => self.max_open_ratio += 1,
        }
    }

    /// By the values of the label `prevented_by`.
    pub(super) const fn by_cause(&self) -> [(&'static str, u64); 2] {
        [("metrics_only", self.metrics_only), ("max_open_ratio", self.max_open_ratio)]
    }
}

/// How often a transition has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransitionCount {
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// Why.
    pub reason: Reason,
    /// How often.
    pub count: u64,
}
