//! How many circuits of a group may be open at once.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::seen::SeenKeys;
use crate::{
    breaker::open_slot::{OpenLimit, OpenSlots},
    clock::{SystemClock, Tick, TimeSource},
};

/// Added before a product is rounded down: 0.3 * 10 must not be 2.
const ROUNDING: f64 = 1e-9;

/// At most a share of the keys that were seen in the last minute, and always at least one.
pub(super) struct MaxOpen {
    ratio: f64,
    clock: TimeSource,
    seen: SeenKeys,
    slots: OpenSlots,
    prevented: AtomicU64,
}

impl MaxOpen {
    pub(super) fn new(ratio: f64, clock: TimeSource) -> Self {
        if let TimeSource::System = clock {
            SystemClock::calibrate();
        }
        Self {
            ratio,
            clock,
            seen: SeenKeys::new(),
            slots: OpenSlots::new(),
            prevented: AtomicU64::new(0),
        }
    }

    /// Notes a call of the key with this hash.
    #[inline]
    pub(super) fn see(&self, hash: u64) {
        let now = match &self.clock {
            TimeSource::System => SystemClock::counter_tick(),
            custom @ TimeSource::Custom(_) => custom.now(),
        };
        self.seen.note(hash, now);
    }

    pub(super) fn keys_seen(&self) -> u64 {
        self.seen.count(self.clock.now())
    }

    pub(super) fn open(&self) -> u64 {
        self.slots.taken()
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
    fn try_take(&self, now: Tick) -> bool {
        self.slots.try_take(limit(self.ratio, self.seen.count(now)))
    }

    fn take(&self) {
        self.slots.take();
    }

    fn give_back(&self) {
        self.slots.give_back();
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
