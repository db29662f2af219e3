//! Eviction: which breaker a new one replaces when a group is full.
//!
//! The algorithm is CLOCK: breakers stand in a circle, and one that was used since it was last
//! considered gets a second chance. That is a preference, not a right: where a search meets no
//! other, a closed one goes although it was used.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::hashed::Hashed;
use crate::{handle::Breaker, state::State};

/// How many breakers a search considers while it holds the lock of the group.
const ROUND: usize = 64;

/// How many it considers in all. Bounded, since a group may be full of breakers that cannot be
/// replaced; the next search goes on where this one has ended.
const SEARCH: usize = 16 * ROUND;

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

/// A breaker that may be replaced, as far as a look without its lock shows.
pub(super) struct Candidate<B> {
    pub(super) key: Hashed,
    pub(super) breaker: B,
    /// Whether it is replaced although it was used. Then it is closed.
    pub(super) was_used: bool,
}

/// A search for a breaker to replace, in rounds. In between, the lock of the group is free.
pub(super) struct Search<B> {
    considered: usize,
    is_over: bool,
    /// Half-open ones that were not used: open ones whose time is over, nearly always.
    half_open: Vec<Candidate<B>>,
    /// The first closed one that was used.
    used: Option<Candidate<B>>,
}

impl<B: Occupant> Search<B> {
    pub(super) fn new() -> Self {
        Self { considered: 0, is_over: false, half_open: Vec::new(), used: None }
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    fn is_in_vain(&self) -> bool {
        self.half_open.is_empty() && self.used.is_none()
    }

    /// Keeps one that goes if no idle one is met.
    fn note(&mut self, key: &Hashed, Considered { breaker, was_used }: Considered<B>) {
        match breaker.published_state() {
            State::Closed if self.used.is_none() => {
                self.used = Some(Candidate { key: key.clone(), breaker, was_used });
            }
            State::Open | State::HalfOpen
                if !was_used && self.half_open.len() < ROUND && !breaker.goes_on_rejecting() =>
            {
                self.half_open.push(Candidate { key: key.clone(), breaker, was_used });
            }
            _ => {}
        }
    }

    /// The first that is half-open and has no probe out, or else one that is closed. Asking a
    /// breaker for its state may run listeners, so no lock may be held.
    pub(super) fn choose(self) -> Option<Candidate<B>> {
        let mut half_open = self.half_open.into_iter();
        half_open.find(|candidate| candidate.breaker.is_half_open_and_idle()).or(self.used)
    }
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

    /// A round of a search. Returns a closed breaker that was not used, which it removes. Looks at
    /// breakers without their locks.
    pub(super) fn search<B: Occupant>(
        &mut self,
        search: &mut Search<B>,
        consider: impl Fn(&Hashed) -> Option<Considered<B>>,
    ) -> Option<(Hashed, B)> {
        if self.is_paused() {
            search.is_over = true;
            return None;
        }
        let most = self.len().min(SEARCH);
        for _ in search.considered..most.min(search.considered + ROUND) {
            let Some(key) = self.keys.pop_front() else { break };
            search.considered += 1;
            self.in_vain += 1;
            if let Some(considered) = consider(&key) {
                let Considered { breaker, was_used } = &considered;
                if !was_used && breaker.published_state() == State::Closed {
                    self.in_vain = 0;
                    return Some((key, considered.breaker));
                }
                search.note(&key, considered);
            }
            self.keys.push_back(key);
        }
        search.is_over = search.considered >= most;
        if !search.is_in_vain() {
            self.in_vain = 0;
        } else if self.len() > ROUND && self.in_vain >= 2 * self.len() {
            // All of them had their second chance.
            self.paused_until = Some(Instant::now() + PAUSE);
        }
        None
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
