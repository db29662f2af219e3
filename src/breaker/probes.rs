//! The probes of a half-open circuit: how many may be in flight, and what their results decide.

use std::{collections::BTreeMap, time::Duration};

use crate::{clock::Tick, config::Config, event::Reason};

/// The probes in flight and the results so far.
#[derive(Debug, Default)]
pub(super) struct Probes {
    pub(super) attempts: u32,
    pub(super) successes: u32,
    pub(super) failures: u32,
    /// When each probe in flight was admitted, by its id. Ids grow, so the first entry is the
    /// oldest probe.
    in_flight: BTreeMap<u64, Tick>,
    next_id: u64,
    /// How long the probes were out that ended without a result since the last result.
    without_result: Duration,
}

/// What the results so far decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeVerdict {
    Undecided,
    Close,
    Reopen(Reason),
}

impl Probes {
    /// Restores the results of a snapshot, with no probe in flight.
    pub(super) fn resume(attempts: u32, successes: u32, failures: u32) -> Self {
        Self { attempts, successes, failures, ..Self::default() }
    }

    /// Admits a probe, for which there must be room.
    pub(super) fn admit(&mut self, now: Tick) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.attempts = self.attempts.saturating_add(1);
        self.in_flight.insert(id, now);
        id
    }

    pub(super) fn in_flight(&self) -> u32 {
        u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn free_slots(&self, limit: u32) -> u64 {
        u64::from(limit).saturating_sub(self.in_flight.len() as u64)
    }

    /// Frees the slot of a probe and returns when the probe was admitted.
    pub(super) fn release(&mut self, id: u64) -> Option<Tick> {
        self.in_flight.remove(&id)
    }

    /// Adds the time of a probe that ended without a result. Returns the sum since the last result.
    pub(super) fn add_without_result(&mut self, time_out: Duration) -> Duration {
        self.without_result = self.without_result.saturating_add(time_out);
        self.without_result
    }

    /// When a probe that is still in flight was admitted.
    pub(super) fn admitted_at(&self, id: u64) -> Option<Tick> {
        self.in_flight.get(&id).copied()
    }

    /// The oldest probe in flight.
    #[cfg(feature = "redis")]
    pub(super) fn oldest(&self) -> Option<u64> {
        self.in_flight.first_key_value().map(|(id, _)| *id)
    }

    /// When the oldest probe in flight times out.
    pub(super) fn deadline(&self, timeout: Option<Duration>) -> Option<Tick> {
        let (_, oldest) = self.in_flight.first_key_value()?;
        Some(oldest.after(timeout?))
    }

    pub(super) fn record(&mut self, config: &Config, failed: bool, slow: bool) -> ProbeVerdict {
        self.without_result = Duration::ZERO;
        let bad = failed || slow;
        if bad {
            self.failures = self.failures.saturating_add(1);
        } else {
            self.successes = self.successes.saturating_add(1);
        }
        let reason = if failed { Reason::ProbeFailed } else { Reason::ProbeSlow };
        let needed = config.success_threshold;
        let Some(limit) = config.half_open_failure_rate else {
            return match bad {
                true => ProbeVerdict::Reopen(reason),
                false if self.successes >= needed => ProbeVerdict::Close,
                false => ProbeVerdict::Undecided,
            };
        };
        let results = self.successes.saturating_add(self.failures);
        if results < needed {
            return ProbeVerdict::Undecided;
        }
        if f64::from(self.failures) / f64::from(results) < limit {
            return ProbeVerdict::Close;
        }
        // The result that completes the number may itself be a good one.
        ProbeVerdict::Reopen(if bad { reason } else { Reason::ProbeFailed })
    }
}
