//! How much the writer works on snapshots that no caller waits for.
//!
//! Where breakers have keys, each new key that fails gets a breaker, whose snapshot is read in the
//! background. Clients may invent keys without end, so the writer would take a processor of its
//! own, and the calls of all other keys would have to share the rest. A batch with such reads
//! therefore comes only while the budget lasts: a quarter of the time, and [`BURST`] at once, which
//! is more than the start of a hundred thousand breakers takes.

use std::time::{Duration, Instant};

/// The work that may be done without a rest.
const BURST: Duration = Duration::from_secs(2);

/// The reciprocal of the share of the time that the work may take from then on.
const SHARE: u32 = 4;

/// However long a store took for one batch, what comes next is not held up for longer.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// A leaky bucket: work fills it, and time empties it.
#[derive(Default)]
pub(super) struct LoadBudget {
    used: Duration,
    /// When it was used last.
    at: Option<Instant>,
}

impl LoadBudget {
    /// Until when there is no work to be done.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        let excess = self.used.checked_sub(BURST)?;
        self.at?.checked_add(excess * SHARE)
    }

    /// Whether there may be work now.
    pub(super) fn allows(&self, now: Instant) -> bool {
        self.rests_until().is_none_or(|until| until <= now)
    }

    /// Work has been done.
    pub(super) fn spend(&mut self, began: Instant, ended: Instant) {
        let before = self.at.unwrap_or(began);
        let emptied = ended.saturating_duration_since(before) / SHARE;
        let took = ended.saturating_duration_since(began);
        let used = self.used.saturating_sub(emptied).saturating_add(took);
        self.used = used.min(BURST + LONGEST_REST / SHARE);
        self.at = Some(ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: Duration = Duration::from_millis(20);

    /// The work that is done in this time if there is always more of it.
    fn work_for(budget: &mut LoadBudget, began: Instant, time: Duration) -> Duration {
        let mut now = budget.rests_until().map_or(began, |until| until.max(began));
        let mut work = Duration::ZERO;
        while now < began + time {
            assert!(budget.allows(now));
            budget.spend(now, now + BATCH);
            work += BATCH;
            now = budget.rests_until().map_or(now + BATCH, |until| until.max(now + BATCH));
        }
        work
    }

    #[test]
    fn work_without_end_takes_a_quarter_of_the_time_after_a_burst() {
        let (mut budget, began) = (LoadBudget::default(), Instant::now());
        let first = work_for(&mut budget, began, Duration::from_secs(2));
        assert_eq!(first, Duration::from_secs(2), "the burst");
        let seconds = |seconds| began + Duration::from_secs(seconds);
        work_for(&mut budget, seconds(2), Duration::from_secs(8));
        let later = work_for(&mut budget, seconds(10), Duration::from_secs(100));
        assert!((24..=26).contains(&later.as_secs()), "{later:?}");
    }

    #[test]
    fn idle_time_gives_the_burst_back() {
        let (mut budget, began) = (LoadBudget::default(), Instant::now());
        work_for(&mut budget, began, Duration::from_secs(20));
        let later = began + Duration::from_secs(40);
        assert_eq!(work_for(&mut budget, later, Duration::from_secs(2)), Duration::from_secs(2));
    }

    /// As one call to a store that hangs for a while.
    #[test]
    fn the_longest_work_is_followed_by_a_short_rest() {
        let (mut budget, began) = (LoadBudget::default(), Instant::now());
        let ended = began + Duration::from_secs(600);
        budget.spend(began, ended);
        assert_eq!(budget.rests_until(), Some(ended + LONGEST_REST));
        assert!(budget.allows(ended + LONGEST_REST));
    }

    #[test]
    fn little_work_never_rests() {
        let (mut budget, began) = (LoadBudget::default(), Instant::now());
        for n in 0..10_000 {
            let now = began + BATCH * 4 * n;
            assert!(budget.allows(now));
            budget.spend(now, now + BATCH);
        }
    }
}
