//! A state of a fleet's breaker.

use super::fence::Fence;
use crate::state::State;

/// Microseconds on some clock: the server's or a replica's own, never both.
pub(crate) type Micros = u64;

/// Ends of one state that differ by less are the same: answers take a while.
pub(crate) const SLACK: Micros = 500_000;

/// A state of a fleet's breaker, with times on the clock of the side that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) fence: Fence,
    /// Never [`State::HalfOpen`]: that is `Open` past its time.
    pub(crate) state: State,
    /// Until when it lasts; `None` forever. Past its time, `Open` is half-open, and a state that
    /// was set by hand is closed.
    pub(crate) until: Option<Micros>,
    /// Openings in a row without closing: the step of the backoff.
    pub(crate) opens: u32,
    /// Whether it was set by hand.
    pub(crate) by_hand: bool,
}

impl Record {
    /// What is known before anything is.
    pub(crate) const NONE: Self =
        Self { fence: Fence::NONE, state: State::Closed, until: None, opens: 0, by_hand: false };

    /// The same state on another clock: its end is what is left of it at `from`, after `to`.
    pub(crate) fn rebased(self, from: Micros, to: Micros) -> Self {
        let until = self.until.map(|until| to.saturating_add(until.saturating_sub(from)));
        Self { until, ..self }
    }

    /// The same state for no longer than it is meant to last in all. The clock may have gone back
    /// since its end was set.
    pub(crate) fn for_at_most(self, lasts: Option<Micros>, now: Micros) -> Self {
        let latest = lasts.map(|lasts| now.saturating_add(lasts));
        let until = self.until.map(|until| until.min(latest.unwrap_or(until)));
        Self { until, ..self }
    }

    /// Whether it is the same state with an earlier end.
    pub(crate) fn ends_before(&self, other: &Self) -> bool {
        self.fence == other.fence
            && self.until.zip(other.until).is_some_and(|(end, known)| end + SLACK < known)
    }

    /// The state that a call would meet.
    pub(crate) fn state_at(&self, now: Micros) -> State {
        match self.until {
            Some(until) if until <= now && self.state == State::Open => State::HalfOpen,
            Some(until) if until <= now => State::Closed,
            _ => self.state,
        }
    }
}
