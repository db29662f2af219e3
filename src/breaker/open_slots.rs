//! The slots that the open circuits of a group have taken.

use std::collections::{BTreeMap, HashMap};

use crate::sync::{Mutex, lock};

/// A moment, as far as slots know the time: by numbers that increase.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lately {
    pub(crate) now: u32,
    /// What was then or later was lately.
    pub(crate) since: u32,
}

/// The slots that are taken.
///
/// A slot counts if its circuit has opened lately, or its key was seen lately. Otherwise the
/// circuit of a key that is gone, which stays half-open, would keep others from opening forever. A
/// circuit without a key always counts.
#[derive(Debug)]
pub(crate) struct OpenSlots(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    by_key: HashMap<u64, Slots>,
    /// How many slots were seen last at each time.
    by_time: BTreeMap<u32, u64>,
    without_key: u64,
}

/// The slots of the keys with one hash: nearly always one.
#[derive(Debug)]
struct Slots {
    count: u64,
    last_seen: u32,
}

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
