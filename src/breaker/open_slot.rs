//! The slot that an open circuit holds where its group bounds how many may be open at once.
//!
//! A circuit holds its slot from the moment it opens until it closes: a half-open one has it too,
//! and so a failed probe that reopens needs no other.

use std::sync::Arc;

use crate::{clock::Tick, state::State};

/// Bounds how many circuits of a group are open at once. Its methods are called with the lock of a
/// breaker held, and with the hash of the breaker's key, if it has one.
pub(crate) trait OpenLimit: Send + Sync {
    /// Takes a slot for a circuit that a rule is about to open, if one is free.
    fn try_take(&self, key: Option<u64>, now: Tick) -> bool;

    /// Takes a slot for a circuit that is open in any case: by hand, or because it was restored.
    fn take(&self, key: Option<u64>, now: Tick);

    fn give_back(&self, key: Option<u64>);

    /// A rule was met, and there was no slot: one event was emitted.
    fn note_prevented(&self);
}

/// The slot of one breaker. Dropping it gives it back.
pub(crate) struct OpenSlot {
    limit: Arc<dyn OpenLimit>,
    /// The hash of the breaker's key, if it has one.
    key: Option<u64>,
    is_taken: bool,
}

impl OpenSlot {
    #[allow(dead_code, reason = "used where breakers have keys")]
    pub(crate) fn new(limit: Arc<dyn OpenLimit>, key: Option<u64>) -> Self {
        Self { limit, key, is_taken: false }
    }

    /// Whether a rule may open the circuit now. If so, the slot is taken.
    pub(super) fn try_take(&mut self, now: Tick) -> bool {
        self.is_taken = self.is_taken || self.limit.try_take(self.key, now);
        self.is_taken
    }

    /// Takes the slot or gives it back, as the state demands.
    pub(super) fn follow(&mut self, state: State, now: Tick) {
        let is_open = matches!(state, State::Open | State::HalfOpen | State::ForcedOpen);
        if is_open != self.is_taken {
            if is_open {
                self.limit.take(self.key, now);
            } else {
                self.limit.give_back(self.key);
            }
            self.is_taken = is_open;
        }
    }

    pub(super) fn note_prevented(&self) {
        self.limit.note_prevented();
    }
}

impl Drop for OpenSlot {
    fn drop(&mut self) {
        if self.is_taken {
            self.limit.give_back(self.key);
        }
    }
}

impl std::fmt::Debug for OpenSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenSlot").field("is_taken", &self.is_taken).finish_non_exhaustive()
    }
}
