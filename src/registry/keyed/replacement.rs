//! Eviction: which breaker a new one replaces when a group is full.
//!
//! The algorithm is CLOCK: breakers stand in a circle, and one that was used since it was last
//! considered gets a second chance.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::hashed::Hashed;
use crate::{handle::Breaker, state::State};

/// How many breakers a search considers. Bounded, since a group may be full of breakers that cannot
/// be replaced; the next search goes on where this one has ended.
const SEARCH: usize = 64;

/// How long a group that is full of breakers that cannot be replaced is not searched again, so that
/// invented keys do not pay for a search each.
const PAUSE: Duration = Duration::from_millis(10);

/// A breaker, as far as replacement goes.
pub(super) trait Occupant: Clone {
    /// Its state as of its last transition. It takes no lock and runs no listener.
    fn published_state(&self) -> State;

    /// Whether it rejects every call for longer, by the same look.
    fn goes_on_rejecting(&self) -> bool;

    /// Whether it is half-open now and has no probe out. To ask may run listeners.
    fn is_half_open_and_idle(&self) -> bool;

    /// Whether both are the same breaker.
    fn is(&self, other: &Self) -> bool;

    /// Takes over the state of an older breaker of its name, if that is still to be done. It may
    /// run listeners of the older one.
    fn take_over(&self);

    /// It is not the breaker of its key any more. It runs no listener.
    fn leave_group(&self);
}

impl Occupant for Breaker {
    fn published_state(&self) -> State {
        self.cell().published_state()
    }

    fn goes_on_rejecting(&self) -> bool {
        self.cell().goes_on_rejecting()
    }

    fn is_half_open_and_idle(&self) -> bool {
        let is_idle = self.cell().inspect(|machine, _| machine.is_half_open_without_probes());
        is_idle == Some(true)
    }

    fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self.cell(), other.cell())
    }

    fn take_over(&self) {
        self.take_over();
    }

    fn leave_group(&self) {
        self.leave_group();
    }
}

/// The keys of a group in the order in which they are considered.
#[derive(Default)]
pub(super) struct CandidateQueue {
    keys: VecDeque<Hashed>,
    /// How many breakers were considered since one was found.
    in_vain: usize,
    paused_until: Option<Instant>,
}

/// A breaker, as a search sees it.
pub(super) struct Considered<B> {
    pub(super) breaker: B,
    pub(super) was_used: bool,
}

/// A breaker that is not closed, and that is half-open, as far as a look without its lock shows.
pub(super) struct Candidate<B> {
    pub(super) key: Hashed,
    pub(super) breaker: B,
}

/// What a search has found.
pub(super) enum Replaceable<B> {
    /// A closed breaker that was not used, removed from the queue.
    Idle(Hashed, B),
    /// None, unless one of these is half-open: open ones whose time is over, nearly always.
    Perhaps(Vec<Candidate<B>>),
}

impl CandidateQueue {
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn push(&mut self, key: Hashed) {
        self.keys.push_back(key);
    }

    /// Removes a key that was considered lately. Returns whether it was there.
    pub(super) fn remove(&mut self, key: &Hashed) -> bool {
        // What was considered went to the back.
        let found = self.keys.iter().rposition(|queued| queued == key);
        found.is_some_and(|index| self.keys.remove(index).is_some())
    }

    /// Looks at breakers without their locks.
    pub(super) fn search<B: Occupant>(
        &mut self,
        consider: impl Fn(&Hashed) -> Option<Considered<B>>,
    ) -> Replaceable<B> {
        let mut candidates = Vec::new();
        if self.is_paused() {
            return Replaceable::Perhaps(candidates);
        }
        let count = self.len();
        // Twice, so that a small group finds one that has had its second chance.
        for considered in 0..(2 * count).min(SEARCH) {
            let Some(key) = self.keys.pop_front() else { break };
            self.in_vain += 1;
            if let Some(Considered { breaker, was_used }) = consider(&key) {
                match breaker.published_state() {
                    State::Closed if !was_used => {
                        self.in_vain = 0;
                        return Replaceable::Idle(key, breaker);
                    }
                    State::Open | State::HalfOpen
                        if !was_used && considered < count && !breaker.goes_on_rejecting() =>
                    {
                        candidates.push(Candidate { key: key.clone(), breaker });
                    }
                    _ => {}
                }
            }
            self.keys.push_back(key);
        }
        if !candidates.is_empty() {
            self.in_vain = 0;
        } else if count > SEARCH && self.in_vain >= 2 * count {
            // All of them had their second chance.
            self.paused_until = Some(Instant::now() + PAUSE);
        }
        Replaceable::Perhaps(candidates)
    }

    fn is_paused(&mut self) -> bool {
        let Some(until) = self.paused_until else { return false };
        let is_paused = Instant::now() < until;
        if !is_paused {
            (self.paused_until, self.in_vain) = (None, 0);
        }
        is_paused
    }
}

/// The first that is half-open and has no probe out. Asking a breaker for its state may run
/// listeners, so no lock may be held.
pub(super) fn choose<B: Occupant>(candidates: Vec<Candidate<B>>) -> Option<Candidate<B>> {
    candidates.into_iter().find(|candidate| candidate.breaker.is_half_open_and_idle())
}
