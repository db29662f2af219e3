//! How long drops may wait.
//!
//! A program that ends drops one breaker and store after the other, often on the thread of a
//! runtime. Each drop may wait, but all together wait no longer than one alone: they share a
//! *budget*, which is whole again once no drop has waited for as long as a drop may wait. While
//! breakers come and go all the time, drops may wait for a tenth of the time.
//!
//! The process has one budget. A store that hangs leaves a part of it to those after it: a store
//! that works needs little.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

#[cfg(not(test))]
use crate::process::EachProcess;
#[cfg(test)]
use crate::sync::std_lock;

/// How long a drop waits at most.
pub(crate) const LONGEST_DROP: Duration = Duration::from_secs(1);

/// No wait is longer, so that its end can be represented.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The share of the time for which drops may wait: one part in this many.
const SHARE: u32 = 10;

/// The part of what is left that a wait leaves to others: one in this many.
const RESERVE: u32 = 10;

/// A forked process has one of its own where a thread of the other one was just about to wait.
#[cfg(not(test))]
static BUDGET: EachProcess<Option<Budget>> = EachProcess::new([const { Mutex::new(None) }; 4]);

// Tests run at the same time. To each thread, it is as if it were the only one.
#[cfg(test)]
thread_local! {
    static BUDGET: Mutex<Option<Budget>> = const { Mutex::new(None) };
}

/// What is left of the time for which drops may wait.
#[derive(Clone, Copy)]
struct Budget {
    time: Duration,
    at: Instant,
    /// The number of drops that wait: meanwhile, the time runs out.
    waiting: usize,
}

impl Budget {
    fn whole(longest: Duration, now: Instant) -> Self {
        Self { time: longest.min(A_YEAR), at: now, waiting: 0 }
    }

    /// What is left now, to a drop that may wait for `longest` if it is alone.
    fn left(self, longest: Duration, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at);
        let left = if self.waiting > 0 {
            self.time.saturating_sub(passed)
        } else if passed >= longest {
            longest
        } else {
            self.time + passed / SHARE
        };
        left.min(longest).min(A_YEAR)
    }
}

/// A drop that waits.
pub(crate) struct DropWait {
    pub(crate) began: Instant,
    time: Duration,
}

impl DropWait {
    /// Begins the wait of a drop that may wait for `longest` if it is alone.
    pub(crate) fn begin(longest: Duration) -> Self {
        let now = Instant::now();
        let time = with_budget(|budget| {
            let before = budget.unwrap_or_else(|| Budget::whole(longest, now));
            let time = before.left(longest, now);
            *budget = Some(Budget { time, at: now, waiting: before.waiting + 1 });
            time
        });
        Self { began: now, time }
    }

    /// How long it may take.
    pub(crate) fn longest(&self) -> Duration {
        self.time.saturating_sub(self.time / RESERVE)
    }

    /// When it ends at the latest.
    pub(crate) fn deadline(&self) -> Instant {
        self.began + self.longest()
    }
}

impl Drop for DropWait {
    fn drop(&mut self) {
        let now = Instant::now();
        with_budget(|budget| {
            if let Some(budget) = budget {
                let time = budget.left(A_YEAR, now);
                *budget = Budget { time, at: now, waiting: budget.waiting.saturating_sub(1) };
            }
        });
    }
}

#[cfg(not(test))]
fn with_budget<T>(job: impl FnOnce(&mut Option<Budget>) -> T) -> T {
    // Without one, each drop waits for itself.
    match BUDGET.claim() {
        Some(mut budget) => job(&mut budget),
        None => job(&mut None),
    }
}

#[cfg(test)]
fn with_budget<T>(job: impl FnOnce(&mut Option<Budget>) -> T) -> T {
    BUDGET.with(|budget| job(&mut std_lock(budget)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn time_runs_out_while_a_drop_waits_and_comes_back_slowly() {
        let now = Instant::now();
        let budget = Budget::whole(SECOND, now);
        assert_eq!(budget.left(SECOND, now), SECOND);
        let waiting = Budget { waiting: 2, ..budget };
        assert_eq!(waiting.left(SECOND, now + SECOND / 4), SECOND * 3 / 4);
        assert_eq!(waiting.left(SECOND, now + SECOND * 2), Duration::ZERO);
        let used_up = Budget { time: Duration::ZERO, ..budget };
        assert_eq!(used_up.left(SECOND, now + SECOND / 2), SECOND / 20);
        assert_eq!(used_up.left(SECOND, now + SECOND), SECOND);
        assert_eq!(used_up.left(SECOND * 9, now + SECOND), SECOND / 10);
    }

    #[test]
    fn a_wait_leaves_a_tenth_to_those_after_it() {
        let first = DropWait::begin(SECOND);
        assert_eq!(first.longest(), SECOND * 9 / 10);
        let second = DropWait::begin(SECOND);
        assert!(second.longest() <= first.longest());
        assert!(second.deadline() + SECOND / 10 >= first.deadline());
        drop((first, second));
        let any = DropWait::begin(Duration::MAX);
        assert!(any.deadline() > Instant::now());
    }
}
