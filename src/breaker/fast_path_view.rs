//! What callers need to know to do without the lock.

use std::time::Duration;

use super::{
    machine::{Machine, Phase},
    success_counter::OnSuccess,
};
use crate::{clock::Tick, state::State};

/// The part of a machine that is published for callers without the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FastPathView {
    pub(super) epoch: u64,
    pub(super) state: State,
    pub(super) admission: Admission,
    /// How a success that is not slow is recorded.
    pub(super) success: OnSuccess,
    /// Whether the time of each call's admission is needed.
    pub(super) timed: bool,
    /// A call that took longer than this is slow.
    pub(super) slow_after: Option<Duration>,
    /// When the newest bucket ends that successes may be added to; `None` without a time window.
    pub(super) bucket_end: Option<Tick>,
    /// Whether each call is counted for the metrics, which the machine does not know.
    pub(super) metered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Every call is admitted.
    All,
    /// No call is admitted before this time.
    NoneUntil(Tick),
    /// The machine decides for each call.
    AskMachine,
}

#[cfg(test)]
impl FastPathView {
    /// Of a closed circuit in which successes change nothing.
    pub(super) const QUIET: Self = Self {
        epoch: 7,
        state: State::Closed,
        admission: Admission::All,
        success: OnSuccess::Skip,
        timed: false,
        slow_after: None,
        bucket_end: None,
        metered: false,
    };
}

impl Machine {
    pub(super) fn fast_path_view(&self) -> FastPathView {
        // Only these two record into the windows.
        let records = matches!(self.phase, Phase::Closed(_) | Phase::MetricsOnly { .. });
        FastPathView {
            epoch: self.epoch(),
            state: self.state(),
            admission: self.admission(),
            success: self.on_success(),
            timed: (records && self.are_calls_timed())
                || (matches!(self.phase, Phase::Disabled { .. })
                    && self.config().measures_durations()),
            slow_after: self.rules.slow_after().filter(|_| records),
            bucket_end: self.rules.bucket_end().filter(|_| records),
            metered: false,
        }
    }

    pub(super) fn on_success(&self) -> OnSuccess {
        match self.phase {
            Phase::Closed(_) | Phase::MetricsOnly { .. } => self.rules.on_success(),
            Phase::Disabled { .. } => OnSuccess::Skip,
            Phase::Open { .. } | Phase::HalfOpen(_) | Phase::ForcedOpen { .. } => OnSuccess::Record,
        }
    }

    fn admission(&self) -> Admission {
        match &self.phase {
            Phase::Closed(None)
            | Phase::Disabled { until: Tick::NEVER }
            | Phase::MetricsOnly { until: Tick::NEVER } => Admission::All,
            // The next call takes the lock, as one does that comes after the open time.
            Phase::Open { .. } if self.watches_calls() => Admission::NoneUntil(self.now),
            Phase::Open { until, .. } | Phase::ForcedOpen { until } => Admission::NoneUntil(*until),
            Phase::HalfOpen(probes) if self.free_slots(probes) == 0 => {
                let deadline = self.deadline().unwrap_or(Tick::NEVER);
                match self.probes_ask_again_at() {
                    Some(at) if at <= self.now => Admission::AskMachine,
                    Some(at) => Admission::NoneUntil(deadline.min(at)),
                    None => Admission::NoneUntil(deadline),
                }
            }
            Phase::Closed(Some(_))
            | Phase::HalfOpen(_)
            // These end at a time that a caller without the lock would not notice.
            | Phase::Disabled { .. }
            | Phase::MetricsOnly { .. } => Admission::AskMachine,
        }
    }
}
