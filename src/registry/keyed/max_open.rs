//! How many circuits of a group may be open at once.

mod places;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use self::places::OpenPlaces;
use super::seen::{Noted, SeenKeys, lately};
use crate::{
    breaker::{
        open_slot::{OpenLimit, OpenSlot},
        open_slots::OpenSlots,
    },
    clock::{SystemClock, Tick, TimeSource},
};

/// Added before a product is rounded down: 0.3 * 10 must not be 2.
const ROUNDING: f64 = 1e-9;

/// At most a share of the keys that were seen in the last minute, and always at least one. Of the
/// open circuits, those count whose keys were seen in the last minute too.
pub(super) struct MaxOpen {
    ratio: f64,
    clock: TimeSource,
    seen: SeenKeys,
    slots: OpenSlots,
    places: OpenPlaces,
    prevented: AtomicU64,
}

impl MaxOpen {
    pub(super) fn new(ratio: f64, clock: TimeSource, max_breakers: usize) -> Self {
        if let TimeSource::System = clock {
            SystemClock::calibrate();
        }
        Self {
            ratio,
            clock,
            seen: SeenKeys::new(),
            slots: OpenSlots::new(),
            places: OpenPlaces::new(max_breakers),
            prevented: AtomicU64::new(0),
        }
    }

    /// The slot of a breaker, whose key has this hash.
    pub(super) fn slot(self: &Arc<Self>, key: Option<u64>) -> OpenSlot {
        OpenSlot::new(Arc::clone(self) as _, key)
    }

    /// Notes a call of the key with this hash, or a question of a balancer.
    #[inline]
    pub(super) fn see(&self, hash: u64) {
        let now = match &self.clock {
            TimeSource::System => SystemClock::counter_tick(),
            custom @ TimeSource::Custom(_) => custom.now(),
        };
        let is_news = match self.seen.note(hash, now) {
            Noted::Before => false,
            Noted::Now => self.places.may_have(hash),
            Noted::Not => self.places.may_have(hash) && self.places.note(hash, lately(now).now),
        };
        if is_news {
            self.slots.see(hash, lately(now).now);
        }
    }

    pub(super) fn keys_seen(&self) -> u64 {
        self.seen.count(self.clock.now())
    }

    pub(super) fn open(&self) -> u64 {
        self.slots.taken(lately(self.clock.now()).since)
    }

    pub(super) fn prevented(&self) -> u64 {
        self.prevented.load(Relaxed)
    }
}

/// How many circuits may be open if this many keys were seen.
fn limit(ratio: f64, keys: u64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a ratio is from 0 to 1"
    )]
    let share = (ratio * keys as f64 + ROUNDING) as u64;
    share.max(1)
}

impl OpenLimit for MaxOpen {
    fn try_take(&self, key: Option<u64>, now: Tick) -> bool {
        let limit = limit(self.ratio, self.seen.count(now));
        let is_taken = self.slots.try_take(key, lately(now), limit);
        if is_taken {
            self.places.add(key);
        }
        is_taken
    }

    fn take(&self, key: Option<u64>, now: Tick) {
        self.slots.take(key, lately(now).now);
        self.places.add(key);
    }

    fn give_back(&self, key: Option<u64>) {
        self.slots.give_back(key);
        self.places.remove(key);
    }

    fn note_prevented(&self) {
        self.prevented.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_share_rounded_down_and_at_least_one() {
        for (ratio, keys, expected) in [
            (0.5, 0, 1),
            (0.5, 1, 1),
            (0.5, 3, 1),
            (0.5, 4, 2),
            (0.1, 9, 1),
            (0.1, 20, 2),
            (0.3, 10, 3),
            (0.29, 100, 29),
            (0.7, 10, 7),
            (1.0, 10, 10),
            (0.001, 10_000, 10),
        ] {
            assert_eq!(limit(ratio, keys), expected, "{ratio} of {keys}");
        }
    }
}
