//! Events of a breaker, for logs, listeners and metrics.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        IntoDeserializer, Visitor,
        value::{self, StrDeserializer},
    },
};

use crate::{
    health::StoreHealth,
    seconds::{moment, optional_moment, optional_span},
    state::State,
};

/// An event of a breaker.
///
/// Listeners receive the transitions of one breaker in order, each once, after the change, on the
/// thread of one of its callers. Events of the store come on the thread that writes to it; where
/// that is waiting for the store, or for a breaker that is built meanwhile, on another thread of
/// this crate, one for the store. Only where the system starts no threads do those of a breaker
/// that is built come on the thread that builds it.
///
/// Transitions that time alone causes are reported at their time by a thread of this crate, one
/// for the process. A listener that blocks that thread makes the timers of other breakers late by a
/// tenth of a second, when another thread takes over, and by more once eight of them are blocked;
/// so a listener must return quickly. With a [custom clock](crate::BreakerBuilder::clock), such
/// transitions are reported when the breaker is next used, or within about a second if its calls
/// are counted for [metrics](crate::Breaker#metrics).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The circuit went from one state to another.
    Transition(Transition),
    /// The store became healthy or degraded.
    Store(StoreEvent),
    /// The circuit would have opened, and something prevented it: see [`PreventedBy`].
    WouldTrip(WouldTrip),
}

/// A rule was met, and the circuit did not open.
///
/// There is one such event each time: the next one comes when a rule is met after a call at which
/// none was. A run of failed [health checks](Reason::HealthCheck) counts as such a rule, and is met
/// until a check succeeds.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WouldTrip {
    /// The breaker's name.
    pub name: Arc<str>,
    /// When it happened, by the wall clock.
    pub at: SystemTime,
    /// The rule that was met.
    pub reason: Reason,
    /// The number of failures that led to it, as in [`Transition::failure_count`].
    pub failure_count: u64,
    /// Why the circuit did not open.
    pub prevented_by: PreventedBy,
}

/// What prevents a circuit from opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PreventedBy {
    /// It is in [`State::MetricsOnly`].
    MetricsOnly,
    /// As many circuits of its group are open as
    /// `KeyedBreakersBuilder::max_open_ratio` allows. The circuit opens with the first call that
    /// meets a rule, or the first failed health check, while fewer are open.
    MaxOpenRatio,
}

/// A change of the health of a breaker's store.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StoreEvent {
    /// The breaker's name.
    pub name: Arc<str>,
    /// The health of the store now.
    pub health: StoreHealth,
}

/// A change of the circuit from one state to another.
///
/// As JSON, times are in seconds (`at` since 1970) with fractions kept to the microsecond. What
/// says nothing is left out: an empty `name`, `manual` unless it is true, a `failure_count` of 0,
/// the `open_time` of a transition that did not open the circuit, and `manual_until`, `note` and
/// `by` where there are none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Transition {
    /// The breaker's name.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub name: Arc<str>,
    /// When it happened, by the wall clock. A transition that time alone causes happens at its
    /// moment, also if it is reported later.
    #[serde(with = "moment")]
    pub at: SystemTime,
    /// The state before.
    pub from: State,
    /// The state after. The same as before where a closed circuit was reset.
    pub to: State,
    /// Why.
    pub reason: Reason,
    /// Whether an operator or the program did it by hand, with a method of the breaker: of this
    /// one or, with [`Reason::Fleet`], on another replica. `note` and `by` are then those of that
    /// replica's change, if the server still has them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub manual: bool,
    /// The number of failures that led to it: the consecutive failures, or the failed (or slow)
    /// calls in the window of the rule that tripped. 0 where failures had no part in it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failure_count: u64,
    /// How long the circuit stays open, where it opened.
    #[serde(default, with = "optional_span", skip_serializing_if = "Option::is_none")]
    pub open_time: Option<Duration>,
    /// Until when the new state lasts, where it was set by hand for a time.
    #[serde(default, with = "optional_moment", skip_serializing_if = "Option::is_none")]
    pub manual_until: Option<SystemTime>,
    /// The [note](crate::ManualChange::note) of a change by hand: any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Arc<str>>,
    /// Who made a change [by hand](crate::ManualChange::by): any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Arc<str>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(crate) const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Why a circuit changed its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// Closed to open: the limit of consecutive failures was reached.
    ConsecutiveFailures,
    /// Closed to open: the failure rate reached its threshold.
    FailureRate,
    /// Closed to open: the slow-call rate reached its threshold.
    SlowCallRate,
    /// Open to half-open: the open time is over.
    RecoveryTimeout,
    /// Half-open to closed: the probes succeeded.
    ProbesSucceeded,
    /// Half-open to open: a probe failed, or the failure rate of the probes reached its threshold.
    ProbeFailed,
    /// Half-open to open: a probe was slow.
    ProbeSlow,
    /// Half-open to open: the oldest probe did not end within the
    /// [`half_open_timeout`](crate::Config::half_open_timeout), or the probes that ended without a
    /// result since the last result took as long together. Raise the timeout if healthy calls take
    /// that long.
    ProbeTimeout,
    /// Closed to open: health checks failed. Open to half-open: a health check succeeded before the
    /// end of the open time, or begins just before it.
    HealthCheck,
    /// A snapshot was restored, or the state of another breaker of this name was taken over.
    Restored,
    /// By hand: opened, forced open, disabled, or metrics only.
    Manual,
    /// By hand: closed and cleared.
    Reset,
    /// The time is over for which a state was set by hand: closed and cleared.
    ManualExpired,
    /// The state of the fleet was taken over: another replica, or several that agreed, tripped,
    /// recovered or was operated by hand, which [`Transition::manual`] says. That replica's log
    /// says why.
    Fleet,
}

impl Reason {
    /// Whether a call or an operator made the transition: it says something new about the
    /// dependency. Those that time alone causes happen in every breaker with the name.
    pub(crate) const fn is_own(self) -> bool {
        !matches!(self, Self::RecoveryTimeout | Self::ManualExpired | Self::Restored)
    }

    /// The name of this reason in logs and metrics: `consecutive_failures`, for instance.
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
            Self::HealthCheck => "health_check",
            Self::Restored => "restored",
            Self::Manual => "manual",
            Self::Reset => "reset",
            Self::ManualExpired => "manual_expired",
            Self::Fleet => "fleet",
        }
    }
}

/// Reads a reason. One that this version does not know is read as none.
pub(crate) fn known_reason<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Reason>, D::Error> {
    struct Known;

    impl<'de> Visitor<'de> for Known {
        type Value = Option<Reason>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the name of a reason")
        }

        fn visit_none<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
            from.deserialize_str(self)
        }

        fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
            let name: StrDeserializer<'_, value::Error> = name.into_deserializer();
            Ok(Reason::deserialize(name).ok())
        }
    }

    from.deserialize_option(Known)
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

impl Event {
    /// Writes an event of the circuit to the log. (Those of a store are logged once a store.)
    pub(crate) fn log(&self) {
        match self {
            Self::Transition(transition) => transition.log(),
            Self::WouldTrip(would_trip) => would_trip.log(),
            Self::Store(_) => {}
        }
    }
}

impl WouldTrip {
    /// Writes it as one `tracing` event at INFO.
    fn log(&self) {
        let (reason, failures) = (self.reason.as_str(), self.failure_count);
        let why = match self.prevented_by {
            PreventedBy::MetricsOnly => "it is set to metrics only",
            PreventedBy::MaxOpenRatio => {
                "as many circuits of its group are open as `max_open_ratio` allows"
            }
        };
        tracing::info!(
            target: "tower_breaker",
            name = &*self.name,
            reason,
            failure_count = failures,
            "circuit breaker {:?}: would have opened; {why}",
            self.name,
        );
    }
}

impl Transition {
    /// Writes the transition as one `tracing` event at INFO.
    fn log(&self) {
        let open_time = self.open_time.map(tracing::field::debug);
        let manual_time = self.manual_until.and_then(|until| until.duration_since(self.at).ok());
        let manual_time = manual_time.map(tracing::field::debug);
        let (manual, failures) = (self.manual, self.failure_count);
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
            manual_time,
            by = self.by.as_deref(),
            note = self.note.as_deref(),
            "circuit breaker {:?}: {} -> {}{}",
            self.name,
            from,
            to,
            self.remark(),
        );
    }

    fn remark(&self) -> &'static str {
        match self.reason {
            Reason::ProbeTimeout => " (raise `half_open_timeout` if healthy calls take that long)",
            _ if self.manual => " by hand",
            _ => "",
        }
    }
}

#[cfg(test)]
impl Reason {
    /// Every reason. A new one does not compile until it is in here too.
    pub(crate) fn all() -> Vec<Self> {
        let next = |reason: &Self| {
            Some(match reason {
                Self::ConsecutiveFailures => Self::FailureRate,
                Self::FailureRate => Self::SlowCallRate,
                Self::SlowCallRate => Self::RecoveryTimeout,
                Self::RecoveryTimeout => Self::ProbesSucceeded,
                Self::ProbesSucceeded => Self::ProbeFailed,
                Self::ProbeFailed => Self::ProbeSlow,
                Self::ProbeSlow => Self::ProbeTimeout,
                Self::ProbeTimeout => Self::HealthCheck,
                Self::HealthCheck => Self::Restored,
                Self::Restored => Self::Manual,
                Self::Manual => Self::Reset,
                Self::Reset => Self::ManualExpired,
                Self::ManualExpired => Self::Fleet,
                Self::Fleet => return None,
            })
        };
        std::iter::successors(Some(Self::ConsecutiveFailures), next).collect()
    }
}
