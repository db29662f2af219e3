//! The probes of a half-open circuit: how many may be in flight, and what their results decide.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{clock::Tick, config::Config, event::Reason};

/// The probes in flight and the results so far.
#[derive(Debug, Default)]
pub(super) struct Probes {
    pub(super) attempts: u32,
    pub(super) successes: u32,
    pub(super) failures: u32,
    /// The probes in flight, by their ids. Ids grow, so the first entry is the oldest probe.
    in_flight: BTreeMap<u64, InFlight>,
    next_id: u64,
    /// The streams of probes in flight, by when each has proved alive, and the probe.
    streams: BTreeMap<(Tick, u64), Stream>,
    /// How long the probes were out that ended without a result since the last result.
    without_result: Duration,
}

#[derive(Debug)]
struct InFlight {
    admitted: Tick,
    /// When its stream has proved alive; `Tick::NEVER` without a stream.
    alive_at: Tick,
}

/// The response of a probe that has begun to stream: the probe succeeds before its end.
#[derive(Debug)]
pub(super) struct Stream {
    /// How long the call took, if that was measured until the head of its response.
    pub(super) elapsed: Option<Duration>,
    pub(super) proof: StreamProof,
}

/// Whether the stream of a probe has proved alive: for the body, which does not hold the lock.
#[derive(Debug, Clone, Default)]
pub(crate) struct StreamProof(Arc<AtomicBool>);

impl StreamProof {
    // It says nothing about other memory: the machine is behind its lock.
    pub(super) fn give(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    #[allow(dead_code, reason = "used where bodies are watched")]
    pub(crate) fn is_given(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
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
        self.in_flight.insert(id, InFlight { admitted: now, alive_at: Tick::NEVER });
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
        let probe = self.in_flight.remove(&id)?;
        self.streams.remove(&(probe.alive_at, id));
        Some(probe.admitted)
    }

    /// The stream of a probe in flight has begun, and proves alive at this time.
    pub(super) fn begin_stream(&mut self, id: u64, alive_at: Tick, stream: Stream) {
        if let Some(probe) = self.in_flight.get_mut(&id)
            && probe.alive_at == Tick::NEVER
        {
            probe.alive_at = alive_at;
            self.streams.insert((alive_at, id), stream);
        }
    }

    /// The stream that proves alive next: when, and which probe's. One that does so when the oldest
    /// probe times out is in time.
    pub(super) fn next_alive(&self, timeout: Option<Duration>) -> Option<(Tick, u64)> {
        let (&(alive_at, id), _) = self.streams.first_key_value()?;
        let in_time = self.deadline(timeout).is_none_or(|deadline| alive_at <= deadline);
        (in_time && alive_at != Tick::NEVER).then_some((alive_at, id))
    }

    /// Takes the stream of a probe in flight, which has proved alive.
    pub(super) fn take_stream(&mut self, id: u64) -> Option<Stream> {
        let probe = self.in_flight.get_mut(&id)?;
        self.streams.remove(&(std::mem::replace(&mut probe.alive_at, Tick::NEVER), id))
    }

    /// Adds the time of a probe that ended without a result. Returns the sum since the last result.
    pub(super) fn add_without_result(&mut self, time_out: Duration) -> Duration {
        self.without_result = self.without_result.saturating_add(time_out);
        self.without_result
    }

    /// When a probe that is still in flight was admitted.
    pub(super) fn admitted_at(&self, id: u64) -> Option<Tick> {
        Some(self.in_flight.get(&id)?.admitted)
    }

    /// The oldest probe in flight.
    #[allow(dead_code, reason = "used where breakers are shared")]
    pub(super) fn oldest(&self) -> Option<u64> {
        self.in_flight.first_key_value().map(|(id, _)| *id)
    }

    /// When the oldest probe in flight times out.
    pub(super) fn deadline(&self, timeout: Option<Duration>) -> Option<Tick> {
        let (_, oldest) = self.in_flight.first_key_value()?;
        Some(oldest.admitted.after(timeout?))
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
