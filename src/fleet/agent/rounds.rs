//! Rounds over all breakers: what the server may have forgotten is sent, and what it knows is
//! asked for.
//!
//! With thousands of breakers, and many replicas that do so at one moment, as after the server was
//! restarted, a round takes seconds. So it is made in batches of the [pace](crate::fleet::pace),
//! with messages and decisions between them, and goes on where it stopped after an error.

use std::time::Instant;

use super::{Agent, REFRESH_INTERVAL, SharedBreaker, TURN};
use crate::{
    fleet::{protocol::command::Status, rounds::TELL_INTERVAL, translate::to_micros},
    state::State,
    store::StoreError,
};

impl Agent {
    /// From here on, all states are asked for.
    pub(super) fn begin_round(&mut self) {
        self.rounds.must_join = false;
        self.refresh_at = Instant::now() + REFRESH_INTERVAL;
        self.rounds.to_join = self.breakers.keys().copied().collect();
        self.rounds.is_of_all = true;
        if !self.is_joined() {
            self.breakers.values_mut().for_each(|shared| shared.is_attached = false);
        }
    }

    /// Asks for the states of some breakers, and does for them what there is to do.
    pub(super) fn join_some(&mut self) -> Result<(), StoreError> {
        let ends = Instant::now() + TURN;
        while self.rounds.is_joining() {
            let size = self.transport.pace.size();
            let ids: Vec<u64> = self.rounds.to_join.iter().take(size).copied().collect();
            self.settle_or_keep(&ids)?;
            if Instant::now() >= ends {
                break;
            }
        }
        if !self.rounds.is_joining() {
            self.rounds.is_of_all = false;
            if !std::mem::replace(&mut self.rounds.are_complete, true) {
                self.health.set_joined();
            }
        }
        Ok(())
    }

    /// Tells the server the highest record that is known of each of these breakers, and asks for
    /// the newest.
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
            }
        }
        Ok(())
    }

    /// Tells the server again what lasts, which it may have evicted: the votes of this replica, and
    /// states that are not closed. One of the replicas that are present tells it those, whichever
    /// that is. It is also told the states of breakers of which others know an older one.
    pub(super) fn tell_again(&mut self, now: Instant) {
        if now < self.rounds.tell_at {
            return;
        }
        self.rounds.tell_at = now + TELL_INTERVAL.mul_f64(0.5 + fastrand::f64());
        let replicas = self.last_beat.as_ref().map_or(1, |beat| beat.replicas.max(1));
        let is_chosen = fastrand::u64(..replicas) == 0;
        let Self { rounds, breakers, .. } = self;
        rounds.to_join.append(&mut rounds.outdated);
        for (id, shared) in breakers.iter().filter(|(_, shared)| shared.is_attached) {
            let has_vote = shared.entry.vote_until().is_some();
            if has_vote {
                rounds.to_reassert.insert(*id);
            }
            if has_vote || (is_chosen && shared.is_not_closed()) {
                rounds.to_join.insert(*id);
            }
        }
    }

    /// Tells the server for how long votes and leases of this replica and the states that it knows
    /// still last: the server has forgotten them, or its clock has got them wrong. It knows the
    /// states before.
    pub(super) fn reassert_some(&mut self) -> Result<(), StoreError> {
        let now = Instant::now();
        if self.rounds.is_joining() || now < self.rounds.reassert_at {
            return Ok(());
        }
        if std::mem::take(&mut self.rounds.must_reassert) {
            self.rounds.to_reassert = self.breakers.keys().copied().collect();
        }
        let ends = now + TURN;
        while self.rounds.reasserts() && (self.rounds.reassert_at..ends).contains(&Instant::now()) {
            let size = self.transport.pace.size();
            let ids: Vec<u64> = self.rounds.to_reassert.iter().take(size).copied().collect();
            self.reassert(&ids)?;
        }
        Ok(())
    }

    fn reassert(&mut self, ids: &[u64]) -> Result<(), StoreError> {
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
        let answers = self.call_all(told.iter().map(|(id, _, command)| (*id, *command)))?;
        for id in ids {
            self.rounds.to_reassert.remove(id);
        }
        let mut is_late = false;
        for ((id, view, _), answer) in told.iter().zip(answers) {
            let Some(answer) = self.usable(*id, answer) else { continue };
            if answer.status == Status::Late {
                // The server has ignored it.
                self.rounds.to_reassert.insert(*id);
                is_late = true;
            }
            if let Some(SharedBreaker { entry, .. }) = self.breakers.get_mut(id) {
                entry.learn(answer.record, answer.now, view);
            }
        }
        if is_late {
            self.rounds.reassert_at = Instant::now() + self.rounds.reassert_pause.next();
        } else {
            self.rounds.reassert_pause.reset();
        }
        Ok(())
    }
}

impl SharedBreaker {
    /// Whether the fleet's state is not closed, as far as it is known.
    fn is_not_closed(&self) -> bool {
        let seen = self.entry.member.seen();
        let view = (seen.state != State::Closed).then(|| self.entry.view()).flatten();
        view.is_some_and(|view| seen.state_at(to_micros(view.now)) != State::Closed)
    }
}
