//! How long drops of breakers may wait.
//!
//! A program that ends drops one breaker after the other, often on the thread of a runtime. Each
//! may wait for its store, but all together wait no longer than one alone: they share a *budget*,
//! which is whole again once no drop has waited for as long as a drop may wait. While breakers come
//! and go all the time, drops may wait for a tenth of the time. Each store has a budget, so that
//! one that hangs costs the breakers on another nothing.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::sync::std_lock;

/// No wait is longer, so that its end can be represented.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The share of the time for which drops may wait: one part in this many.
const SHARE: u32 = 10;

/// What the drops of breakers on one store share: as long as a single one may wait.
#[derive(Default)]
pub(super) struct DropBudget(Mutex<Option<Rest>>);

/// What the last wait has left.
#[derive(Clone, Copy)]
struct Rest {
    time: Duration,
    at: Instant,
}

/// A wait under way. What it took counts once this is dropped.
pub(super) struct Wait<'a> {
    budget: &'a DropBudget,
    began: Instant,
    /// What was left when it began.
    time: Duration,
    pub(super) deadline: Instant,
}

impl DropBudget {
    /// Begins a wait of a drop that may wait for `longest` if it is alone.
    pub(super) fn begin(&self, longest: Duration) -> Wait<'_> {
        let now = Instant::now();
        let time = match *std_lock(&self.0) {
            Some(rest) => rest.after(now.saturating_duration_since(rest.at), longest),
            None => longest,
        };
        Wait { budget: self, began: now, time, deadline: now + time.min(A_YEAR) }
    }
}

impl Rest {
    /// What is left after this time without a wait.
    fn after(self, quiet: Duration, longest: Duration) -> Duration {
        if quiet >= longest { longest } else { longest.min(self.time + quiet / SHARE) }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let time = self.time.saturating_sub(now.saturating_duration_since(self.began));
        *std_lock(&self.budget.0) = Some(Rest { time, at: now });
    }
}
