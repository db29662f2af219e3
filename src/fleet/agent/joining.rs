//! Joining the fleet, as a whole and breaker by breaker, and deciding alone without it.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::{Agent, BEAT_INTERVAL, Link, SharedBreaker};
use crate::{
    fleet::{
        protocol::command::{Answer, FleetCommand},
        transport::{Addressed, micros},
    },
    store::{StoreError, redis::RECONNECT_PAUSE},
    sync::log,
};

/// How soon a breaker whose key is broken is tried again.
const REPAIR_INTERVAL: Duration = Duration::from_secs(10);
/// The pause before another attempt after the first failure in a while: a connection that broke is
/// made anew at once. After further ones, the server is there and refuses something.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

impl Agent {
    /// Asks whether the server still knows what it knew.
    pub(super) fn beat(&mut self) -> Result<(), StoreError> {
        let beat = self.transport.beat(&self.settings.replica)?;
        self.beat_at = Instant::now() + BEAT_INTERVAL;
        self.health.set_replicas(beat.replicas);
        self.find_votes();
        if let Some(last) = &self.last_beat {
            let has_forgotten = beat.memory != last.memory || beat.news < last.news;
            self.rounds.must_join |= has_forgotten;
            self.rounds.must_reassert |= has_forgotten;
            // News that was there a second ago must have been read.
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
            self.rounds.must_reassert = true;
        }
        Ok(())
    }

    /// Whether the drop of the fleet has a vote to wait for.
    fn find_votes(&self) {
        if self.signals.has_votes.load(Ordering::Relaxed) {
            let mut breakers = self.breakers.values();
            let has_votes = breakers.any(|one| one.entry.vote_until().is_some());
            self.signals.has_votes.store(has_votes || !self.released.is_empty(), Ordering::Relaxed);
        }
    }

    /// Sends a command about each of these breakers at once. The answers are in their order.
    pub(super) fn call_all(
        &mut self,
        commands: impl Iterator<Item = (u64, FleetCommand)>,
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

    /// The server is reached from here on. Breakers whose state was asked for before an error in
    /// the middle of a round need not wait for it.
    pub(super) fn link_up(&mut self) {
        self.link = Link::Joined;
        let is_attached = |(id, shared): (&u64, &SharedBreaker)| shared.is_attached.then_some(*id);
        let ids: Vec<u64> = self.breakers.iter().filter_map(is_attached).collect();
        for shared in self.breakers.values().filter(|shared| shared.is_attached) {
            shared.entry.set_joined(true);
        }
        self.skip_counts(&ids);
        self.changed.extend(ids);
    }

    /// From here on, every breaker decides alone.
    pub(super) fn go_alone(&mut self, reason: &str) {
        self.health.set_alone(reason);
        // Without news, the next attempt begins with them.
        if self.is_reading {
            let is_first = self.last_failure.is_none_or(|at| at.elapsed() >= 5 * RECONNECT_PAUSE);
            self.last_failure = Some(Instant::now());
            let least = if is_first { FIRST_PAUSE } else { RECONNECT_PAUSE };
            let wait = self.transport.pause().max(least);
            // Not all replicas at one moment.
            self.retry_at = Instant::now() + wait + least.mul_f64(fastrand::f64() / 2.0);
        }
        self.rounds.interrupt();
        self.clock.forget();
        if std::mem::replace(&mut self.link, Link::Alone) == Link::Joined {
            for SharedBreaker { entry, .. } in self.breakers.values() {
                entry.set_joined(false);
            }
        }
    }
}
