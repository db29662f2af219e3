//! Snapshots that a store would forget while their breakers are in use: they are saved again when
//! half of their life has passed.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant, SystemTime},
};

use crate::clock::{SystemClock, Tick, wall};

/// Entries are looked at for no more than this share of the time, and no more often than this.
const SHARE: u32 = 1000;
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Of a [`Soonest`]: nothing is to be saved again.
const NEVER: u64 = u64::MAX;

/// When a snapshot is to be saved again: a tick, or 0 for never. The store's time goes on while
/// this machine is suspended.
#[derive(Default)]
pub(super) struct RefreshTime(AtomicU64);

impl RefreshTime {
    /// It was saved now, and lives for this long.
    pub(super) fn set(&self, ttl: Option<Duration>) {
        self.set_in(ttl.map(|ttl| ttl / 2));
    }

    /// It was read from the store, and half of its life passes at this time, if it expires.
    pub(super) fn set_at(&self, half_life: Option<SystemTime>) {
        self.set_in(half_life.map(|half| half.duration_since(wall()).unwrap_or_default()));
    }

    fn set_in(&self, span: Option<Duration>) {
        let at = span.map_or(0, |span| SystemClock::tick().after(span).as_nanos());
        self.0.store(at, Relaxed);
    }

    /// Whether it is time, once.
    pub(super) fn take_due(&self) -> bool {
        let at = self.0.load(Relaxed);
        at != 0
            && at <= SystemClock::tick().as_nanos()
            && self.0.compare_exchange(at, 0, Relaxed, Relaxed).is_ok()
    }
}

/// The earliest of these times in a store, or an earlier one.
pub(super) struct Soonest(AtomicU64);

impl Default for Soonest {
    fn default() -> Self {
        Self(AtomicU64::new(NEVER))
    }
}

impl Soonest {
    pub(super) fn note(&self, time: &RefreshTime) {
        let at = time.0.load(Relaxed);
        if at != 0 {
            self.0.fetch_min(at, Relaxed);
        }
    }

    /// To be called before each time is noted anew.
    pub(super) fn forget(&self) {
        self.0.store(NEVER, Relaxed);
    }

    fn at(&self) -> Option<Instant> {
        let at = self.0.load(Relaxed);
        let left = Tick::from_nanos(at).since(SystemClock::tick());
        (at != NEVER).then(|| Instant::now().checked_add(left))?
    }
}

/// When the entries are looked at next.
pub(super) struct RefreshTimer {
    not_before: Instant,
}

impl RefreshTimer {
    pub(super) const fn new(now: Instant) -> Self {
        Self { not_before: now }
    }

    pub(super) fn due(&self, soonest: &Soonest) -> Option<Instant> {
        soonest.at().map(|at| at.max(self.not_before))
    }

    /// The entries have been looked at, since this time.
    pub(super) fn rest(&mut self, began: Instant) {
        let pause = began.elapsed() * SHARE;
        self.not_before = Instant::now() + pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Snapshot;

    #[test]
    fn a_time_is_due_once() {
        let time = RefreshTime::default();
        assert!(!time.take_due());
        time.set(Some(Duration::ZERO));
        assert!(time.take_due());
        assert!(!time.take_due());
        time.set(Some(Duration::from_secs(3600)));
        assert!(!time.take_due());
        time.set(None);
        assert!(!time.take_due());
    }

    #[test]
    fn a_stored_snapshot_is_due_at_half_its_life() {
        let json = |saved: f64, expires: f64| {
            format!(r#"{{"state":"open","saved_at":{saved},"expires_at":{expires}}}"#)
        };
        let set = |time: &RefreshTime, json: &[u8]| time.set_at(Snapshot::half_life(json));
        let now = wall().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let time = RefreshTime::default();
        set(&time, json(now - 100.0, now + 99.0).as_bytes());
        assert!(time.take_due());
        set(&time, json(now - 100.0, now + 200.0).as_bytes());
        assert!(!time.take_due());
        set(&time, br#"{"state":"forced_open","saved_at":1.0,"expires_at":null}"#);
        assert!(!time.take_due());
    }

    #[test]
    fn the_soonest_time_decides_when_entries_are_looked_at() {
        let (soonest, now) = (Soonest::default(), Instant::now());
        let mut timer = RefreshTimer::new(now);
        assert_eq!(timer.due(&soonest), None);
        soonest.note(&RefreshTime::default());
        assert_eq!(timer.due(&soonest), None, "never");
        for seconds in [100, 50, 200] {
            let time = RefreshTime::default();
            time.set(Some(Duration::from_secs(seconds)));
            soonest.note(&time);
        }
        let due = timer.due(&soonest).unwrap();
        assert!(due > now + Duration::from_secs(24) && due < now + Duration::from_secs(50));
        timer.rest(now);
        soonest.note(&{
            let time = RefreshTime::default();
            time.set(Some(Duration::ZERO));
            time
        });
        assert!(timer.due(&soonest).unwrap() > Instant::now(), "after a pause");
        soonest.forget();
        assert_eq!(timer.due(&soonest), None);
    }
}
