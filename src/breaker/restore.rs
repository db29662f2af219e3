//! The state machine as a snapshot, and back.

use super::{
    machine::{Machine, Phase, Step},
    open_time::restored_open_time,
    probes::Probes,
    ramp::Ramp,
};
use crate::{clock::Reading, event::Reason, seconds, snapshot::Snapshot, state::State};

impl Machine {
    /// The state as data. What was brought up to `now` before is what it shows.
    pub(crate) fn snapshot(&self, now: Reading) -> Snapshot {
        let mut snapshot = Snapshot {
            state: self.state(),
            failure_count: self.rules.row(),
            consecutive_opens: self.opens,
            windows: self.rules.windows(now.tick),
            ..Snapshot::empty(now.wall)
        };
        match &self.phase {
            Phase::Open { since, until } => {
                snapshot.opened_at = Some(seconds::rounded(now.wall_at(*since)));
                snapshot.open_until = Some(seconds::rounded(now.wall_at(*until)));
            }
            Phase::HalfOpen(probes) => {
                snapshot.half_open_attempts = probes.attempts;
                snapshot.half_open_successes = probes.successes;
                snapshot.half_open_failures = probes.failures;
            }
            Phase::Closed(Some(ramp)) => {
                snapshot.closed_at = Some(seconds::rounded(now.wall_at(ramp.began)));
                snapshot.ramp_credit = ramp.credit();
            }
            Phase::Closed(None) | Phase::ForcedOpen | Phase::Disabled | Phase::MetricsOnly => {}
        }
        snapshot.expires_at = snapshot.expiry_by(self.config().snapshot_ttl);
        snapshot
    }

    /// Goes on where the snapshot stopped. Returns `false`, and changes nothing, where the
    /// snapshot is that of a closed circuit and has expired.
    pub(crate) fn restore(
        &mut self,
        saved: &Snapshot,
        now: Reading,
        steps: &mut Vec<Step>,
    ) -> bool {
        if self.has_expired(saved, now) {
            return false;
        }
        self.now = self.now.max(now.tick);
        // A wall clock that went back says nothing about how long the process was away.
        let downtime = now.wall.duration_since(saved.saved_at).unwrap_or_default();
        self.rules.adopt(&saved.windows, self.now, downtime);
        self.rules.set_consecutive_failures(saved.failure_count);
        self.opens = saved.consecutive_opens;
        let phase = match saved.state {
            State::Closed => Phase::Closed(self.restored_ramp(saved, now)),
            State::Open => self.restored_open(saved, now),
            State::HalfOpen => Phase::HalfOpen(Box::new(Probes::resume(
                saved.half_open_attempts,
                saved.half_open_successes,
                saved.half_open_failures,
            ))),
            State::ForcedOpen => Phase::ForcedOpen,
            State::Disabled => Phase::Disabled,
            State::MetricsOnly => Phase::MetricsOnly,
        };
        if phase.state() == self.state() {
            self.phase = phase;
        } else {
            let failures = saved.failure_count.into();
            self.enter(phase, Reason::Restored, failures, self.now, steps);
        }
        self.advance(now.tick, steps);
        true
    }

    /// By the wall clock, but never longer than the open time: neither what was left of the one
    /// that was set, nor the longest that the configuration allows now.
    fn restored_open(&self, saved: &Snapshot, now: Reading) -> Phase {
        let longest = match &self.config().backoff {
            Some(backoff) => backoff.max,
            None => self.config().recovery_timeout,
        };
        let until = saved.open_until.unwrap_or(now.wall);
        let opened = saved.opened_at.unwrap_or(now.wall);
        let by = |moment| until.duration_since(moment).unwrap_or_default();
        // By the clock that may have jumped, no more than was left when this was saved, and no
        // more than was set.
        let left = by(now.wall).min(by(saved.saved_at)).min(by(opened)).min(longest);
        let left = restored_open_time(self.config(), left);
        // Where the clock went back, the opening seems to lie ahead; it was at the latest now.
        let since = now.wall.duration_since(opened).unwrap_or_default();
        Phase::Open { since: self.now.before(since), until: self.now.after(left) }
    }

    fn restored_ramp(&self, saved: &Snapshot, now: Reading) -> Option<Ramp> {
        self.config().ramp_up?;
        let closed_at = saved.closed_at?;
        let since = now.wall.duration_since(closed_at).unwrap_or_default();
        Some(Ramp::resume(self.now.before(since), saved.ramp_credit))
    }

    /// Only a closed circuit's counts grow stale. One that was open or half-open is by then
    /// half-open, and a probe decides: a wall clock that jumped forward must not close it.
    fn has_expired(&self, saved: &Snapshot, now: Reading) -> bool {
        let age = now.wall.duration_since(saved.saved_at);
        let ttl = self.config().snapshot_ttl.closed;
        saved.state == State::Closed && age.is_ok_and(|age| age > ttl)
    }
}
