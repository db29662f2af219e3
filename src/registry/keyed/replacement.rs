//! Which breaker a new one replaces when a group is full.
//!
//! The algorithm is CLOCK: breakers stand in a circle, and one that was used since it was last
//! considered gets a second chance.

use std::collections::VecDeque;

use smol_str::SmolStr;

use crate::{handle::Breaker, state::State};

/// How many breakers a search considers. Bounded, since a group may be full of breakers that cannot
/// be replaced; the next search goes on where this one has ended.
const SEARCH: usize = 64;

/// The keys of a group in the order in which they are considered.
#[derive(Default)]
pub(super) struct Queue(VecDeque<SmolStr>);

/// A breaker, as a search sees it.
pub(super) struct Considered<'a> {
    pub(super) breaker: &'a Breaker,
    pub(super) was_used: bool,
}

/// A breaker that is not closed, and that is half-open, as far as a look without its lock shows.
pub(super) struct Candidate {
    pub(super) key: SmolStr,
    pub(super) breaker: Breaker,
}

/// What a search has found.
pub(super) enum Replaceable {
    /// A closed breaker that was not used, removed from the queue.
    Idle(SmolStr, Breaker),
    /// None, unless one of these is half-open: open ones whose time is over, nearly always.
    Perhaps(Vec<Candidate>),
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push(&mut self, key: SmolStr) {
        self.0.push_back(key);
    }

    /// Removes a key that was considered lately. Returns whether it was there.
    pub(super) fn remove(&mut self, key: &str) -> bool {
        // What was considered went to the back.
        let found = self.0.iter().rposition(|queued| queued == key);
        found.is_some_and(|index| self.0.remove(index).is_some())
    }

    /// Looks at breakers without their locks.
    pub(super) fn search<'a>(
        &mut self,
        consider: impl Fn(&SmolStr) -> Option<Considered<'a>>,
    ) -> Replaceable {
        let mut candidates = Vec::new();
        let count = self.len();
        // Twice, so that a small group finds one that has had its second chance.
        for considered in 0..(2 * count).min(SEARCH) {
            let Some(key) = self.0.pop_front() else { break };
            if let Some(Considered { breaker, was_used }) = consider(&key) {
                let cell = breaker.cell();
                match cell.published_state() {
                    State::Closed if !was_used => return Replaceable::Idle(key, breaker.clone()),
                    State::Open | State::HalfOpen
                        if !was_used && considered < count && !cell.goes_on_rejecting() =>
                    {
                        candidates.push(Candidate { key: key.clone(), breaker: breaker.clone() });
                    }
                    _ => {}
                }
            }
            self.0.push_back(key);
        }
        Replaceable::Perhaps(candidates)
    }
}

/// The first that is half-open. Asking a breaker for its state may run listeners, so no lock may be
/// held.
pub(super) fn choose(candidates: Vec<Candidate>) -> Option<Candidate> {
    candidates.into_iter().find(|candidate| candidate.breaker.state() == State::HalfOpen)
}
