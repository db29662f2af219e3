//! What is left of the rounds over all breakers, which [the agent](super::agent) makes.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::retry_pause::RetryPause;

/// How often a server is sent again what it may have evicted. A state may last for hours, and a
/// replica that starts would not learn of it; a vote would not count.
pub(super) const TELL_INTERVAL: Duration = Duration::from_secs(10);

#[expect(clippy::struct_excessive_bools, reason = "each is on its own")]
pub(super) struct FleetRounds {
    /// All states must be asked for, from the first one on.
    pub(super) must_join: bool,
    /// The breakers whose state is still to be asked for.
    pub(super) to_join: BTreeSet<u64>,
    /// Whether these are what is left of all of them.
    pub(super) is_of_all: bool,
    /// The breakers of which others have told a state that is older than the one known here. The
    /// server may have it too: they join again the next time that what lasts is sent again.
    pub(super) outdated: BTreeSet<u64>,
    /// Whether all have been asked for since the server is reached.
    pub(super) are_complete: bool,
    /// The server may not know votes, leases and the ends of states as they are.
    pub(super) must_reassert: bool,
    /// The breakers for which it is still to be told.
    pub(super) to_reassert: BTreeSet<u64>,
    /// Not before this time, as an attempt was late.
    pub(super) reassert_at: Instant,
    pub(super) reassert_pause: RetryPause,
    /// When to tell again what lasts.
    pub(super) tell_at: Instant,
}

impl FleetRounds {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            must_join: true,
            to_join: BTreeSet::new(),
            outdated: BTreeSet::new(),
            is_of_all: false,
            are_complete: false,
            must_reassert: false,
            to_reassert: BTreeSet::new(),
            reassert_at: now,
            reassert_pause: RetryPause::default(),
            tell_at: now + TELL_INTERVAL,
        }
    }

    pub(super) fn is_joining(&self) -> bool {
        !self.to_join.is_empty()
    }

    /// Whether the state of this breaker is still to be asked for.
    pub(super) fn joins(&self, id: u64) -> bool {
        self.to_join.contains(&id)
    }

    pub(super) fn has_joined(&mut self, id: u64) {
        self.to_join.remove(&id);
    }

    pub(super) fn reasserts(&self) -> bool {
        self.must_reassert || !self.to_reassert.is_empty()
    }

    /// When there is something to do.
    pub(super) fn next_moment(&self) -> Option<Instant> {
        self.reasserts().then_some(self.reassert_at)
    }

    /// The breaker is gone.
    pub(super) fn forget(&mut self, id: u64) {
        self.to_join.remove(&id);
        self.outdated.remove(&id);
        self.to_reassert.remove(&id);
    }

    /// The server is not reached. What all replicas ask at one moment may be too much for it, so
    /// what it has answered is not asked again, unless news may have been missed.
    pub(super) fn interrupt(&mut self) {
        self.must_join |= !self.is_of_all;
        (self.must_reassert, self.are_complete) = (true, false);
    }
}
