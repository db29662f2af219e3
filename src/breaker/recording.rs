//! How calls end: with a result, cancelled or abandoned.

use std::time::Duration;

use super::{
    admission::Ticket,
    effects::{Effects, Prevented},
    failure_log,
    machine::{Machine, Phase},
    probes::{ProbeVerdict, Stream},
    rules::Trigger,
};
use crate::{
    clock::Tick,
    event::{PreventedBy, Reason},
    outcome::{CallEnd, Outcome},
};

/// The result of a call, with the time it took if that was measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallResult {
    pub(super) outcome: Outcome,
    pub(super) elapsed: Option<Duration>,
}

struct CancelledProbe {
    time_out: Duration,
    /// It needs no lease, or has one.
    may_decide: bool,
}

impl Machine {
    /// Whether recording a result of this call takes neither the time nor a transition, unless a
    /// rule trips: the common case, and the cheapest.
    pub(super) fn records_untimed(&self, ticket: Ticket) -> bool {
        matches!(self.phase, Phase::Closed(None) | Phase::MetricsOnly { until: Tick::NEVER })
            && self.is_current(ticket)
            && self.rules.are_untimed()
    }

    /// Whether successes that are counted without the lock meanwhile may be recorded after this
    /// result: it changes nothing about their being deferred.
    pub(super) fn defers_through(&self, result: CallResult, now: Tick) -> bool {
        matches!(self.phase, Phase::Closed(_) | Phase::MetricsOnly { .. })
            && self.phase.manual_until().is_none_or(|until| now < until)
            && self.rules.defers_through(result.outcome, result.elapsed, now)
    }

    /// Records a result where [`records_untimed`](Self::records_untimed) allows it. Returns the
    /// rule that is met, for [`trip`](Self::trip).
    pub(super) fn record_untimed(&mut self, outcome: Outcome) -> Option<Trigger> {
        let trigger = self.rules.record(outcome, None, self.now);
        self.would_trip = self.would_trip && trigger.is_some();
        trigger
    }

    /// Does what a rule that is met asks for: opens the circuit, or reports that it would have.
    pub(super) fn trip(
        &mut self,
        trigger: Trigger,
        retry_after: Option<Duration>,
        effects: &mut Effects,
    ) {
        let by = match &self.phase {
            Phase::Closed(_) if effects.may_open(self.now) => {
                return self.open(trigger, retry_after, self.now, effects);
            }
            Phase::Closed(_) => PreventedBy::MaxOpenRatio,
            Phase::MetricsOnly { .. } => PreventedBy::MetricsOnly,
            _ => return,
        };
        effects.counts_changed = true;
        if !std::mem::replace(&mut self.would_trip, true) {
            effects.would_trip = Some(Prevented { trigger, by });
        }
    }

    /// Evaluates the rules before a call is recorded, and after an update. In a time window, a rule
    /// that was met may have ceased to be.
    pub(super) fn settle_would_trip(&mut self) {
        self.would_trip = self.would_trip && self.rules.evaluate().is_some();
    }

    /// Does what the rules ask for after a call was recorded.
    fn after_record(
        &mut self,
        trigger: Option<Trigger>,
        retry_after: Option<Duration>,
        effects: &mut Effects,
    ) {
        effects.counts_changed = true;
        match trigger {
            Some(trigger) => self.trip(trigger, retry_after, effects),
            None => self.would_trip = false,
        }
    }

    /// Records a result. One of another generation comes too late, and changes nothing.
    pub(super) fn record(&mut self, ticket: Ticket, result: CallResult, effects: &mut Effects) {
        if !self.is_current(ticket) {
            return;
        }
        match &self.phase {
            Phase::Closed(_) | Phase::MetricsOnly { .. } if result.outcome != Outcome::Ignore => {
                effects.slow = self.rules.is_slow(result.elapsed);
                self.settle_would_trip();
                let trigger = self.rules.record(result.outcome, result.elapsed, self.now);
                self.after_record(trigger, result.outcome.retry_after(), effects);
            }
            Phase::HalfOpen(_) => self.record_probe(ticket, result, effects),
            _ => {}
        }
    }

    fn record_probe(&mut self, ticket: Ticket, result: CallResult, effects: &mut Effects) {
        let Some(time_out) = self.release_probe(ticket) else { return };
        effects.counts_changed = true;
        effects.probe = Some(result.outcome.into());
        if !self.return_lease(ticket.probe) {
            return self.end_undecided(false);
        }
        let failed = match result.outcome {
            Outcome::Ignore => return self.end_without_result(time_out, effects),
            Outcome::Success => false,
            Outcome::Failure { .. } | Outcome::Throttled { .. } => true,
        };
        let slow = self.rules.is_slow(result.elapsed.or(Some(time_out)));
        self.judge_ending(!failed && !slow, false);
        effects.slow = slow;
        let Phase::HalfOpen(probes) = &mut self.phase else { return };
        match probes.record(&self.config, failed, slow) {
            ProbeVerdict::Undecided => self.end_undecided(true),
            ProbeVerdict::Close => self.close(Reason::ProbesSucceeded, effects),
            ProbeVerdict::Reopen(reason) => {
                let trigger = Trigger { reason, failure_count: probes.failures.into() };
                self.open(trigger, result.outcome.retry_after(), self.now, effects);
            }
        }
    }

    /// How long a probe has been in flight.
    pub(super) fn probe_age(&self, ticket: Ticket) -> Option<Duration> {
        match (&self.phase, ticket.probe) {
            (Phase::HalfOpen(probes), Some(id)) if self.is_current(ticket) => {
                Some(self.now.since(probes.admitted_at(id)?))
            }
            _ => None,
        }
    }

    /// The response of a probe has begun to stream. If it goes on for this long, the probe is a
    /// success at that time.
    pub(super) fn begin_stream(
        &mut self,
        ticket: Ticket,
        alive_after: Duration,
        stream: Stream,
        effects: &mut Effects,
    ) {
        if self.probe_age(ticket).is_some()
            && let (Phase::HalfOpen(probes), Some(id)) = (&mut self.phase, ticket.probe)
        {
            probes.begin_stream(id, self.now.after(alive_after), stream);
            self.advance(self.now, effects);
        }
    }

    /// Ends a call that says nothing, however long it took. A probe's slot becomes free.
    pub(super) fn cancel(&mut self, ticket: Ticket, effects: &mut Effects) {
        let Some(probe) = self.cancel_probe(ticket, effects) else { return };
        if probe.may_decide {
            self.end_without_result(probe.time_out, effects);
        } else {
            self.end_undecided(false);
        }
    }

    /// Ends a call that is dropped by a panic elsewhere. Its time is not added up: one panic drops
    /// all calls of its thread at once, and shows no dependency that hangs.
    pub(super) fn cancel_by_panic(&mut self, ticket: Ticket, effects: &mut Effects) {
        if self.cancel_probe(ticket, effects).is_some() {
            self.end_undecided(false);
        }
    }

    /// Frees the slot of a probe that is cancelled.
    fn cancel_probe(&mut self, ticket: Ticket, effects: &mut Effects) -> Option<CancelledProbe> {
        let time_out = self.release_probe(ticket)?;
        let may_decide = self.return_lease(ticket.probe);
        effects.probe = Some(CallEnd::Cancelled);
        // By the attempt.
        effects.counts_changed = true;
        Some(CancelledProbe { time_out, may_decide })
    }

    /// Ends a call that was dropped before it had an outcome. A short one says nothing. A long
    /// one is slow or a failure: callers seldom wait for a dependency that hangs. Returns whether
    /// it is a failure.
    pub(super) fn abandon(
        &mut self,
        ticket: Ticket,
        elapsed: Option<Duration>,
        effects: &mut Effects,
    ) -> bool {
        if !self.is_current(ticket) {
            return false;
        }
        let probe_age = self.probe_age(ticket);
        let Some(elapsed) = probe_age.or(elapsed) else { return false };
        let failed = self.config.abandoned_after.is_some_and(|limit| elapsed > limit);
        let slow = self.rules.is_slow(Some(elapsed));
        if failed || (slow && probe_age.is_some()) {
            let outcome = if failed { Outcome::failure() } else { Outcome::Success };
            self.record(ticket, CallResult { outcome, elapsed: Some(elapsed) }, effects);
        } else if probe_age.is_some() {
            self.cancel(ticket, effects);
        } else if slow && matches!(self.phase, Phase::Closed(_) | Phase::MetricsOnly { .. }) {
            effects.slow = true;
            self.settle_would_trip();
            let trigger = self.rules.record_abandoned(elapsed, self.now);
            self.after_record(trigger, None, effects);
        }
        failed
    }

    /// Frees the slot of a probe. Returns how long it was out.
    fn release_probe(&mut self, ticket: Ticket) -> Option<Duration> {
        if !self.is_current(ticket) {
            return None;
        }
        match (&mut self.phase, ticket.probe) {
            (Phase::HalfOpen(probes), Some(id)) => Some(self.now.since(probes.release(id)?)),
            _ => None,
        }
    }

    /// Adds up the times of probes that ended without a result. Together they are bounded like
    /// the time of one probe: otherwise, callers that give up early would keep a circuit half-open
    /// forever on a dependency that hangs.
    fn end_without_result(&mut self, time_out: Duration, effects: &mut Effects) {
        let Phase::HalfOpen(probes) = &mut self.phase else { return };
        let total = probes.add_without_result(time_out);
        if self.config.half_open_timeout.is_some_and(|limit| total >= limit) {
            self.judge_ending(false, true);
            self.open(Reason::ProbeTimeout.into(), None, self.now, effects);
        } else {
            self.end_undecided(false);
        }
    }

    /// How many failures may be noted without the lock, because none of them can open the circuit,
    /// whatever successes are recorded before, between and after them.
    pub(super) fn failure_allowance(&self) -> u32 {
        match self.phase {
            Phase::Closed(None) | Phase::MetricsOnly { until: Tick::NEVER } => {
                self.rules.failure_allowance(failure_log::CAPACITY.into())
            }
            _ => 0,
        }
    }

    /// Records failures that were noted without the lock, each after this many successes.
    pub(super) fn record_noted_failures(&mut self, successes: &[u32]) {
        self.rules.record_noted_failures(successes, self.now);
        self.would_trip = false;
    }

    /// Records successes that were counted without the lock, and then a failure of this epoch, if
    /// neither the time nor a rule has to be asked. Returns whether it has.
    #[inline]
    pub(super) fn try_record_held_failure(
        &mut self,
        epoch: u64,
        drain: impl FnOnce(u64, &mut u8) -> u64,
    ) -> bool {
        let holds = epoch == self.epoch()
            && matches!(
                self.phase,
                Phase::Closed(None) | Phase::MetricsOnly { until: Tick::NEVER }
            )
            && self.rules.are_untimed()
            && self.rules.hold_through_failure();
        if holds {
            let successes = drain(self.rules.defer_limit(), &mut self.drained);
            self.rules.record_held_failure(successes, self.now);
            self.would_trip = false;
        }
        holds
    }

    /// Records successes that were counted without the lock. While they could be deferred, none of
    /// them could trip a rule.
    pub(super) fn record_deferred(&mut self, successes: u64) {
        if successes == 0 {
            return;
        }
        self.rules.record_successes(successes, self.now);
        self.would_trip = false;
    }
}
