//! The slot that an open circuit holds where its group bounds how many may be open at once.
//!
//! A circuit holds its slot from the moment it opens until it closes: a half-open one has it too,
//! and so a failed probe that reopens needs no other.

#[cfg(feature = "keyed")]
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

#[cfg(feature = "keyed")]
use crate::sync::{Mutex, lock};
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

/// A moment, as far as slots know the time: by numbers that increase.
#[cfg(feature = "keyed")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lately {
    pub(crate) now: u32,
    /// What was then or later was lately.
    pub(crate) since: u32,
}

/// The slots that are taken.
///
/// A slot counts if its circuit has opened lately, or its key was seen lately. Otherwise the
/// circuit of a key that is gone, which stays half-open, would keep others from opening for ever. A
/// circuit without a key always counts.
#[cfg(feature = "keyed")]
#[derive(Debug)]
pub(crate) struct OpenSlots(Mutex<Taken>);

#[cfg(feature = "keyed")]
#[derive(Debug, Default)]
struct Taken {
    by_key: HashMap<u64, Slots>,
    /// How many slots were seen last at each time.
    by_time: BTreeMap<u32, u64>,
    without_key: u64,
}

/// The slots of the keys with one hash: nearly always one.
#[cfg(feature = "keyed")]
#[derive(Debug)]
struct Slots {
    count: u64,
    last_seen: u32,
}

#[cfg(feature = "keyed")]
impl OpenSlots {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Taken::default()))
    }

    /// Takes a slot if fewer than `limit` count.
    pub(crate) fn try_take(&self, key: Option<u64>, lately: Lately, limit: u64) -> bool {
        let mut taken = lock(&self.0);
        let is_free = taken.count(lately.since) < limit;
        if is_free {
            taken.take(key, lately.now);
        }
        is_free
    }

    pub(crate) fn take(&self, key: Option<u64>, now: u32) {
        lock(&self.0).take(key, now);
    }

    pub(crate) fn give_back(&self, key: Option<u64>) {
        lock(&self.0).give_back(key);
    }

    /// A key was seen, which may have a slot.
    pub(crate) fn see(&self, key: u64, now: u32) {
        lock(&self.0).see(key, now);
    }

    /// How many slots count.
    pub(crate) fn taken(&self, since: u32) -> u64 {
        lock(&self.0).count(since)
    }
}

#[cfg(feature = "keyed")]
impl Taken {
    fn count(&self, since: u32) -> u64 {
        self.without_key + self.by_time.range(since..).map(|(_, slots)| slots).sum::<u64>()
    }

    fn take(&mut self, key: Option<u64>, now: u32) {
        let Some(key) = key else {
            self.without_key += 1;
            return;
        };
        self.see(key, now);
        let slots = self.by_key.entry(key).or_insert(Slots { count: 0, last_seen: now });
        slots.count += 1;
        *self.by_time.entry(slots.last_seen).or_default() += 1;
    }

    fn give_back(&mut self, key: Option<u64>) {
        let Some(key) = key else {
            self.without_key = self.without_key.saturating_sub(1);
            return;
        };
        let Some(slots) = self.by_key.get_mut(&key) else { return };
        slots.count -= 1;
        let (is_last, last_seen) = (slots.count == 0, slots.last_seen);
        if is_last {
            self.by_key.remove(&key);
        }
        self.forget(last_seen, 1);
    }

    fn see(&mut self, key: u64, now: u32) {
        let Some(slots) = self.by_key.get_mut(&key) else { return };
        let last_seen = slots.last_seen;
        // The time of another thread may be older.
        if now > last_seen {
            slots.last_seen = now;
            let count = slots.count;
            *self.by_time.entry(now).or_default() += count;
            self.forget(last_seen, count);
        }
    }

    fn forget(&mut self, last_seen: u32, count: u64) {
        if let Some(slots) = self.by_time.get_mut(&last_seen) {
            *slots -= count;
            if *slots == 0 {
                self.by_time.remove(&last_seen);
            }
        }
    }
}

/// The slot of one breaker. Dropping it gives it back.
pub(crate) struct OpenSlot {
    limit: Arc<dyn OpenLimit>,
    /// The hash of the breaker's key, if it has one.
    key: Option<u64>,
    is_taken: bool,
}

impl OpenSlot {
    #[cfg_attr(not(feature = "keyed"), expect(dead_code))]
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
