//! What happened to a breaker, for logs, listeners and metrics.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::{State, StoreHealth};

/// Something that happened to a breaker.
///
/// Listeners get the transitions of one breaker in their order, each once, after the breaker has
/// changed, on the thread of one of its callers; and what concerns the store on the thread that
/// writes to it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The circuit went from one state to another.
    Transition(Transition),
    /// The store has become healthy, or ceased to be.
    Store(StoreEvent),
}

/// A change of the health of a breaker's store.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StoreEvent {
    /// The breaker's name.
    pub name: Arc<str>,
    /// How the store is doing now.
    pub health: StoreHealth,
}

/// A step of the circuit from one state to another.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Transition {
    /// The breaker's name.
    pub name: Arc<str>,
    /// The state before.
    pub from: State,
    /// The state after. The same as before where a closed circuit was reset.
    pub to: State,
    /// Why.
    pub reason: Reason,
    /// How many failures led to it: the row of failures, or the failed (or slow) calls of the
    /// window whose rule tripped. 0 where failures had no part in it.
    pub failure_count: u64,
    /// How long the circuit is going to be open, where it opened.
    pub open_time: Option<Duration>,
    /// When it happened, by the wall clock. What time alone does happens at its moment, but is
    /// told when somebody next asks the breaker.
    pub at: SystemTime,
}

impl Transition {
    /// Whether somebody did this by hand.
    #[must_use]
    pub const fn is_manual(&self) -> bool {
        self.reason.is_manual()
    }
}

/// Why a circuit changed its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// Closed to open: so many failures in a row.
    ConsecutiveFailures,
    /// Closed to open: the share of failed calls.
    FailureRate,
    /// Closed to open: the share of slow calls.
    SlowCallRate,
    /// Open to half-open: the open time is over.
    RecoveryTimeout,
    /// Half-open to closed: the probes succeeded.
    ProbesSucceeded,
    /// Half-open to open: a probe failed, or too large a share of them.
    ProbeFailed,
    /// Half-open to open: a probe took too long to be called well.
    ProbeSlow,
    /// Half-open to open: the oldest probe was out for the whole half-open timeout.
    ProbeTimeout,
    /// A snapshot was restored.
    Restored,
    /// By hand: forced open, disabled, or metrics only.
    Manual,
    /// By hand: closed and cleared.
    Reset,
}

impl Reason {
    /// The word for this reason in logs and metrics: `consecutive_failures`, for instance.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::FailureRate => "failure_rate",
            Self::SlowCallRate => "slow_call_rate",
            Self::RecoveryTimeout => "recovery_timeout",
            Self::ProbesSucceeded => "probes_succeeded",
            Self::ProbeFailed => "probe_failed",
            Self::ProbeSlow => "probe_slow",
            Self::ProbeTimeout => "probe_timeout",
            Self::Restored => "restored",
            Self::Manual => "manual",
            Self::Reset => "reset",
        }
    }
}

impl Reason {
    pub(crate) const fn is_manual(self) -> bool {
        matches!(self, Self::Manual | Self::Reset)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Transition {
    /// Writes the transition as one `tracing` event at INFO.
    pub(crate) fn log(&self) {
        let open_time = self.open_time.map(tracing::field::debug);
        let (manual, failures) = (self.is_manual(), self.failure_count);
        let (from, to, reason) = (self.from.as_str(), self.to.as_str(), self.reason.as_str());
        tracing::info!(
            target: "tower_breaker",
            name = &*self.name,
            from,
            to,
            reason,
            failure_count = failures,
            open_time,
            manual,
            "circuit breaker {}: {} -> {}{}",
            self.name,
            from,
            to,
            if manual { " by hand" } else { "" },
        );
    }
}
