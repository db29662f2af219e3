//! The slot that an open circuit holds where its group bounds how many may be open at once.
//!
//! A circuit holds its slot from the moment it opens until it closes: a half-open one has it too,
//! and so a failed probe that reopens needs no other.

use std::sync::Arc;

#[cfg(feature = "keyed")]
use crate::sync::{AtomicU64, Ordering};
use crate::{clock::Tick, state::State};

/// Bounds how many circuits of a group are open at once. Its methods are called with the lock of a
/// breaker held.
pub(crate) trait OpenLimit: Send + Sync {
    /// Takes a slot for a circuit that a rule is about to open, if one is free.
    fn try_take(&self, now: Tick) -> bool;

    /// Takes a slot for a circuit that is open in any case: by hand, or because it was restored.
    fn take(&self);

    fn give_back(&self);

    /// A rule was met, and there was no slot: one event was emitted.
    fn note_prevented(&self);
}

/// Counts the slots that are taken.
///
/// The count is the only thing that the threads agree on, and guards no other memory.
#[cfg(feature = "keyed")]
#[derive(Debug)]
pub(crate) struct OpenSlots(AtomicU64);

#[cfg(feature = "keyed")]
impl OpenSlots {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Takes a slot if fewer than `limit` are taken.
    pub(crate) fn try_take(&self, limit: u64) -> bool {
        let one_more = |taken| (taken < limit).then_some(taken + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    pub(crate) fn take(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn give_back(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn taken(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The slot of one breaker. Dropping it gives it back.
pub(super) struct OpenSlot {
    limit: Arc<dyn OpenLimit>,
    is_taken: bool,
}

impl OpenSlot {
    pub(super) fn new(limit: Arc<dyn OpenLimit>) -> Self {
        Self { limit, is_taken: false }
    }

    /// Whether a rule may open the circuit now. If so, the slot is taken.
    pub(super) fn try_take(&mut self, now: Tick) -> bool {
        self.is_taken = self.is_taken || self.limit.try_take(now);
        self.is_taken
    }

    /// Takes the slot or gives it back, as the state demands.
    pub(super) fn follow(&mut self, state: State) {
        let is_open = matches!(state, State::Open | State::HalfOpen | State::ForcedOpen);
        if is_open != self.is_taken {
            if is_open {
                self.limit.take();
            } else {
                self.limit.give_back();
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
            self.limit.give_back();
        }
    }
}

impl std::fmt::Debug for OpenSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenSlot").field("is_taken", &self.is_taken).finish_non_exhaustive()
    }
}
