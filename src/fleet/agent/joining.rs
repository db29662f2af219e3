//! Joining the fleet, as a whole and breaker by breaker, and deciding alone without it.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::{Agent, BEAT_INTERVAL, BY_HAND_INTERVAL, Link, REFRESH_INTERVAL, SharedBreaker};
use crate::{
    breaker::sharing::SharedView,
    fleet::{
        protocol::command::{Answer, Command, Status},
        translate::to_micros,
        transport::{Addressed, micros},
    },
    state::State,
    store::{StoreError, redis::RECONNECT_PAUSE},
    sync::log,
};

/// How soon a breaker whose key is broken is tried again.
const REPAIR_INTERVAL: Duration = Duration::from_secs(10);
/// The pause before another attempt after the first failure in a while: a connection that broke is
/// made anew at once. After further ones, the server is there and refuses something.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// How many states are asked for at once.
const BATCH: usize = 200;

impl Agent {
    /// Asks whether the server still knows what it knew.
    pub(super) fn beat(&mut self) -> Result<(), StoreError> {
        let beat = self.transport.beat(&self.settings.replica)?;
        self.beat_at = Instant::now() + BEAT_INTERVAL;
        self.health.set_replicas(beat.replicas);
        self.look_for_votes();
        if let Some(last) = &self.last_beat {
            let has_forgotten = beat.memory != last.memory || beat.news < last.news;
            self.must_join |= has_forgotten;
            self.must_reassert |= has_forgotten;
            // News that were there a second ago must have been read.
            if self.news_read < last.news && beat.memory == last.memory {
                self.signals.begin_anew.store(true, Ordering::Relaxed);
            }
        }
        let has_stepped = self.clock.has_stepped(beat.now, micros(self.started.elapsed()));
        self.last_beat = Some(beat);
        if has_stepped {
            log(|| {
                tracing::warn!(
                    target: "tower_breaker",
                    "the clock of the fleet's Redis has gone back or ahead by seconds: \
                     open times of circuit breakers may end early, or begin again; keep the clocks \
                     of its hosts synchronized (NTP)",
                );
            });
            self.must_reassert = true;
        }
        Ok(())
    }

    /// Whether the drop of the fleet has a vote to wait for.
    fn look_for_votes(&self) {
        if self.signals.has_votes.load(Ordering::Relaxed) {
            let mut breakers = self.breakers.values();
            let has_votes = breakers.any(|one| one.entry.vote_until().is_some());
            self.signals.has_votes.store(has_votes || !self.released.is_empty(), Ordering::Relaxed);
        }
    }

    /// Tells the server for how long votes and leases of this replica and the states that it knows
    /// still last: the server has forgotten them, or its clock has got them wrong.
    pub(super) fn reassert(&mut self) -> Result<(), StoreError> {
        let ids: Vec<u64> = self.breakers.keys().copied().collect();
        let mut is_late = false;
        for ids in ids.chunks(BATCH) {
            // Only now: what is left of a time is true for a moment.
            let mut told = Vec::new();
            for id in ids {
                let Some(SharedBreaker { entry, leases, .. }) = self.breakers.get_mut(id) else {
                    continue;
                };
                leases.renew_all();
                if !leases.held().is_empty() {
                    self.changed.insert(*id);
                }
                let ends = [entry.limit(), entry.recast(&self.settings)].into_iter().flatten();
                told.extend(ends.map(|(command, view)| (*id, view, command)));
            }
            let commands = told.iter().map(|(id, _, command)| (*id, *command));
            let answers = self.call_all(commands)?;
            for ((id, view, _), answer) in told.iter().zip(answers) {
                let Some(answer) = self.usable(*id, answer) else { continue };
                is_late |= answer.status == Status::Late;
                if let Some(SharedBreaker { entry, .. }) = self.breakers.get_mut(id) {
                    entry.learn(answer.record, answer.now, view);
                }
            }
        }
        // The server has ignored what was late.
        self.must_reassert = is_late;
        if is_late {
            self.reassert_at = Instant::now() + self.reassert_pause.next();
        } else {
            self.reassert_pause.reset();
        }
        Ok(())
    }

    /// Tells the server the highest record that is known of each breaker, and asks for the newest.
    pub(super) fn join_all(&mut self) -> Result<(), StoreError> {
        let ids: Vec<u64> = self.breakers.keys().copied().collect();
        for batch in ids.chunks(BATCH) {
            self.join(batch)?;
        }
        self.must_join = false;
        self.refresh_at = Instant::now() + REFRESH_INTERVAL;
        if !self.is_joined() {
            self.link = Link::Joined;
            self.health.set_joined();
            for shared in self.breakers.values_mut().filter(|shared| !shared.is_left_out) {
                shared.entry.set_joined(true);
                shared.is_attached = true;
            }
            self.skip_counts(&ids);
            self.changed.extend(ids);
        }
        Ok(())
    }

    /// The same for the breakers whose state was set by hand and still lasts.
    pub(super) fn join_by_hand(&mut self) -> Result<(), StoreError> {
        self.by_hand_at = Instant::now() + BY_HAND_INTERVAL;
        let is_by_hand = |shared: &SharedBreaker| {
            let seen = shared.entry.member.seen();
            let state_at = |view: SharedView| seen.state_at(to_micros(view.now));
            shared.is_attached
                && seen.state.is_manual()
                && shared.entry.view().map(state_at).is_some_and(State::is_manual)
        };
        let by_hand = self.breakers.iter().filter(|(_, shared)| is_by_hand(shared));
        let ids: Vec<u64> = by_hand.map(|(id, _)| *id).collect();
        for batch in ids.chunks(BATCH) {
            self.join(batch)?;
        }
        Ok(())
    }

    pub(super) fn join(&mut self, ids: &[u64]) -> Result<(), StoreError> {
        let mut joins = Vec::new();
        for id in ids {
            let Some(SharedBreaker { entry, .. }) = self.breakers.get(id) else { continue };
            if let Some(view) = entry.view() {
                let join = entry.member.join(to_micros(view.now));
                joins.push((*id, view, join));
            }
        }
        let answers = self.call_all(joins.iter().map(|(id, _, join)| (*id, *join)))?;
        for ((id, view, _), answer) in joins.iter().zip(answers) {
            let Some(answer) = self.usable(*id, answer) else { continue };
            if let Some(SharedBreaker { entry, is_left_out, .. }) = self.breakers.get_mut(id) {
                *is_left_out = false;
                entry.learn(answer.record, answer.now, view);
                self.changed.insert(*id);
            }
        }
        Ok(())
    }

    /// Sends a command about each of these breakers at once. The answers are in their order.
    pub(super) fn call_all(
        &mut self,
        commands: impl Iterator<Item = (u64, Command)>,
    ) -> Result<Vec<Result<Answer, StoreError>>, StoreError> {
        let Self { transport, breakers, .. } = self;
        let commands: Vec<_> = commands.collect();
        let addressed = commands.iter().map(|(id, command)| {
            let entry = breakers.get(id).map(|shared| &shared.entry);
            let name = entry.map_or("", |entry| &*entry.name);
            let remark = entry.and_then(|entry| entry.remark_of(command));
            Addressed { name, command: *command, remark }
        });
        let answers = transport.call_all(&addressed.collect::<Vec<_>>())?;
        let answers = commands.iter().zip(answers).map(|((id, _), answer)| {
            let (answer, remark) = answer?;
            if let Some(shared) = breakers.get_mut(id) {
                shared.entry.note_remark(answer.record.fence, remark);
            }
            Ok(answer)
        });
        Ok(answers.collect())
    }

    /// The answer about a breaker, which is left out if its key is broken.
    pub(super) fn usable(&mut self, id: u64, answer: Result<Answer, StoreError>) -> Option<Answer> {
        answer.map_err(|error| self.leave_out(id, &error)).ok()
    }

    /// One breaker decides alone: the server's answers about it are of no use. It is tried again
    /// when it has something to tell, and now and then.
    pub(super) fn leave_out(&mut self, id: u64, error: &StoreError) {
        let Some(shared) = self.breakers.get_mut(&id) else { return };
        shared.entry.leave_out(format!("its key in Redis is broken, delete it: {error}"));
        (shared.is_attached, shared.is_left_out) = (false, true);
        let at = Instant::now() + REPAIR_INTERVAL;
        if let Some(before) = shared.later.replace(at) {
            self.later.remove(&(before, id));
        }
        self.later.insert((at, id));
        if !std::mem::replace(&mut shared.is_reported, true) {
            let name = &*shared.entry.name;
            log(|| {
                tracing::warn!(
                    target: "tower_breaker",
                    name,
                    %error,
                    "the key of circuit breaker {name:?} in the fleet's Redis is broken: this \
                     replica decides alone about it and keeps trying; delete the key: {error}",
                );
            });
        }
    }

    /// From here on, every breaker decides alone.
    pub(super) fn go_alone(&mut self, reason: &str) {
        self.health.set_alone(reason);
        // Without news, the next attempt begins with them.
        if self.is_reading {
            let is_first = self.last_failure.is_none_or(|at| at.elapsed() >= 5 * RECONNECT_PAUSE);
            self.last_failure = Some(Instant::now());
            let least = if is_first { FIRST_PAUSE } else { RECONNECT_PAUSE };
            self.retry_at = Instant::now() + self.transport.pause().max(least);
        }
        (self.must_join, self.must_reassert) = (true, true);
        self.released.clear();
        self.clock.forget();
        if std::mem::replace(&mut self.link, Link::Alone) == Link::Joined {
            for SharedBreaker { entry, .. } in self.breakers.values() {
                entry.set_joined(false);
            }
        }
    }
}
