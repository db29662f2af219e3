//! From a machine to a snapshot, and back. A snapshot's age is judged here when it is restored, and
//! by the sweep of `write_behind` when it is to be removed.
//!
//! There are two ways back. A snapshot is *restored* after a restart: time has passed, the wall
//! clock may have jumped, and jitter spreads the breakers of the process. A state is *taken over*
//! from another breaker of the process: nothing has passed but the time since that one is gone, if
//! it is, and nothing is spread.

use std::time::Duration;

use super::{
    decoded::Decoded,
    effects::Effects,
    machine::{Machine, Origin, Phase},
    open_time::{longest_open_time, restored_open_time},
    probes::Probes,
    ramp::Ramp,
    rules::{DecodedRules, Trigger},
    standing::Standing,
    window::WindowCopies,
};
use crate::{
    clock::{Reading, Tick},
    config::Config,
    event::Reason,
    manual::Remark,
    seconds,
    snapshot::{Snapshot, WindowSnapshot},
    state::State,
};

/// A snapshot that a machine is to continue with.
pub(super) struct SavedState<'a> {
    pub(super) snapshot: &'a Snapshot,
    /// Its windows, if they are large.
    pub(super) decoded: Option<&'a mut Decoded>,
}

impl Machine {
    /// The state as data, for a machine that was brought up to `now`, but for the calls of count
    /// windows. Those are in the `copies`; until these are complete, there is no snapshot.
    pub(super) fn snapshot(&self, now: Reading, copies: &mut WindowCopies) -> Option<Snapshot> {
        let windows = self.rules.windows(now.tick, copies);
        copies.are_complete().then(|| self.snapshot_with(windows, now))
    }

    fn snapshot_with(&self, windows: Vec<WindowSnapshot>, now: Reading) -> Snapshot {
        let origin = self.origin.as_deref();
        let remark = origin.and_then(|origin| origin.remark.as_deref());
        let mut snapshot = Snapshot {
            since: origin.map(|origin| seconds::rounded(now.wall_at(origin.since))),
            reason: origin.and_then(|origin| origin.reason),
            note: remark.and_then(|remark| remark.note.clone()),
            by: remark.and_then(|remark| remark.by.clone()),
            state: self.state(),
            failure_count: self.rules.consecutive_failures(),
            consecutive_opens: self.consecutive_opens,
            windows,
            manual_until: self.phase.manual_until().map(|at| seconds::rounded(now.wall_at(at))),
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
            Phase::Closed(None)
            | Phase::ForcedOpen { .. }
            | Phase::Disabled { .. }
            | Phase::MetricsOnly { .. } => {}
        }
        let half_open = self.config.half_open_timeout.unwrap_or_default();
        snapshot.expires_at = snapshot.expiry_by(self.config.snapshot_ttl, half_open);
        snapshot
    }

    /// Resumes from a snapshot, unless it is that of a closed circuit and has expired.
    ///
    /// A snapshot that is read late finds calls that were recorded meanwhile. These are newer than
    /// its counts: the failure streak stays, and the saved calls come before those in the windows.
    pub(super) fn restore(
        &mut self,
        SavedState { snapshot: saved, decoded }: SavedState<'_>,
        now: Reading,
        effects: &mut Effects,
    ) {
        if self.is_too_old(saved, now) {
            return;
        }
        let was_early = self.standing == Standing::Early;
        if matches!(self.phase, Phase::HalfOpen(_)) {
            // The probes that are out were admitted by an early state, which ends here.
            self.void_admitted_calls();
        }
        self.now = self.now.max(now.tick);
        let decoded = decoded.and_then(|decoded| decoded.rules_of(&self.config));
        if self.rules.have_recorded() {
            self.rules.prepend(&saved.windows, decoded, self.now, downtime(saved, now));
        } else {
            self.adopt_counts(saved, decoded, now);
        }
        let steps = effects.steps.len();
        self.resume(saved, now, restored_open_time, effects);
        effects.restored_steps += effects.steps.len() - steps;
        self.advance(now.tick, effects);
        if was_early {
            self.outdate_snapshots();
        }
    }

    /// Restores what a part of the store holds, until the whole of it can be read. A closed circuit
    /// loses little by waiting for that. The counts of windows are not resumed: they would count
    /// twice.
    pub(super) fn restore_early(
        &mut self,
        snapshot: &Snapshot,
        now: Reading,
        effects: &mut Effects,
    ) {
        if snapshot.state == State::Closed {
            return;
        }
        let snapshot = Snapshot { windows: Vec::new(), ..snapshot.clone() };
        self.standing = Standing::New;
        self.restore(SavedState { snapshot: &snapshot, decoded: None }, now, effects);
        self.standing = Standing::Early;
    }

    /// Continues with the state that another breaker has at this moment, or had this long ago when
    /// it went, in place of its own. If that state `is_newer` than what the store holds, no
    /// snapshot replaces it any more.
    pub(super) fn take_over(
        &mut self,
        SavedState { snapshot: state, decoded }: SavedState<'_>,
        age: Duration,
        is_newer: bool,
        effects: &mut Effects,
    ) {
        if matches!(self.phase, Phase::HalfOpen(_)) {
            // The probes that are out were admitted by a state that ends here.
            self.void_admitted_calls();
        }
        let was_own = self.has_transitioned();
        self.rules.clear(self.now);
        let decoded = decoded.and_then(|decoded| decoded.rules_of(&self.config));
        // The other one's clock, also where the two clocks differ.
        let wall = state.saved_at.checked_add(age).unwrap_or(state.saved_at);
        let now = Reading { tick: self.now, wall };
        self.adopt_counts(state, decoded, now);
        self.resume(state, now, |_, left| left, effects);
        // The store may be read later, if the other breaker has not read it either.
        self.standing = if is_newer || was_own { Standing::Own } else { Standing::Early };
        self.advance(self.now, effects);
        effects.counts_changed = true;
    }

    fn adopt_counts(&mut self, saved: &Snapshot, decoded: Option<&mut DecodedRules>, now: Reading) {
        self.rules.adopt(&saved.windows, decoded, self.now, downtime(saved, now));
        self.rules.set_consecutive_failures(saved.failure_count);
    }

    /// Adopts everything but the counts. `open_time` makes the open time of an open circuit out of
    /// what is left of it.
    fn resume(
        &mut self,
        saved: &Snapshot,
        now: Reading,
        open_time: impl FnOnce(&Config, Duration) -> Duration,
        effects: &mut Effects,
    ) {
        self.consecutive_opens = saved.consecutive_opens;
        let phase = match saved.state {
            State::Closed => Phase::Closed(self.restored_ramp(saved, now)),
            State::Open => self.restored_open(saved, now, open_time),
            State::HalfOpen => Phase::HalfOpen(Box::new(Probes::resume(
                saved.half_open_attempts,
                saved.half_open_successes,
                saved.half_open_failures,
            ))),
            State::ForcedOpen => {
                Phase::ForcedOpen { until: self.restored_manual_until(saved, now) }
            }
            State::Disabled => Phase::Disabled { until: self.restored_manual_until(saved, now) },
            State::MetricsOnly => {
                Phase::MetricsOnly { until: self.restored_manual_until(saved, now) }
            }
        };
        if phase.state() == self.state() {
            self.phase = phase;
        } else {
            let failure_count = saved.failure_count.into();
            let trigger = Trigger { reason: Reason::Restored, failure_count };
            self.enter(phase, trigger, self.now, effects);
        }
        // What was prevented before causes no event again.
        self.would_trip = self.rules.evaluate().is_some();
        self.origin = self.restored_origin(saved, now).map(Box::new);
    }

    /// The state goes on, so it began before the restart.
    fn restored_origin(&self, saved: &Snapshot, now: Reading) -> Option<Origin> {
        let since = saved.since?;
        let remark = Remark { note: saved.note.clone(), by: saved.by.clone() };
        Some(Origin {
            since: self.now.before(now.wall.duration_since(since).unwrap_or_default()),
            reason: saved.reason,
            remark: remark.into_shared(),
        })
    }

    /// Stays open for what is left by the wall clock. That clock may have jumped, so the rest is
    /// never longer than it was when the snapshot was written, than the open time that was set, or
    /// than the longest one that the configuration allows now.
    fn restored_open(
        &self,
        saved: &Snapshot,
        now: Reading,
        open_time: impl FnOnce(&Config, Duration) -> Duration,
    ) -> Phase {
        let longest = longest_open_time(&self.config);
        let until = saved.open_until.unwrap_or(now.wall);
        let opened = saved.opened_at.unwrap_or(now.wall);
        let left_at = |moment| until.duration_since(moment).unwrap_or_default();
        let left = left_at(now.wall).min(left_at(saved.saved_at)).min(left_at(opened)).min(longest);
        let left = open_time(&self.config, left);
        // If the clock went back, the opening seems to lie ahead; it was now at the latest.
        let since = now.wall.duration_since(opened).unwrap_or_default();
        Phase::Open { since: self.now.before(since), until: self.now.after(left) }
    }

    /// When a state that was set by hand ends. As with an open time, what is left of it is never
    /// longer than it was when the snapshot was written.
    fn restored_manual_until(&self, saved: &Snapshot, now: Reading) -> Tick {
        let Some(until) = saved.manual_until else { return Tick::NEVER };
        let left_at = |moment| until.duration_since(moment).unwrap_or_default();
        self.now.after(left_at(now.wall).min(left_at(saved.saved_at)))
    }

    fn restored_ramp(&self, saved: &Snapshot, now: Reading) -> Option<Ramp> {
        self.config.ramp_up?;
        let closed_at = saved.closed_at?;
        let since = now.wall.duration_since(closed_at).unwrap_or_default();
        Some(Ramp::resume(self.now.before(since), saved.ramp_credit))
    }

    /// Only the counts of a closed circuit expire. By then, one that was open is half-open, where
    /// a probe decides: a wall clock that jumped forward must not close it.
    fn is_too_old(&self, saved: &Snapshot, now: Reading) -> bool {
        let age = now.wall.duration_since(saved.saved_at);
        let ttl = self.config.snapshot_ttl.closed;
        saved.state == State::Closed && age.is_ok_and(|age| age > ttl)
    }
}

/// If the wall clock went back, nothing is known about the downtime.
fn downtime(saved: &Snapshot, now: Reading) -> Duration {
    now.wall.duration_since(saved.saved_at).unwrap_or_default()
}

#[cfg(all(test, not(tower_breaker_loom)))]
mod tests;
