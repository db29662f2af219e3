//! How long drops of breakers may wait.
//!
//! A program that ends drops one breaker after the other, often on the thread of a runtime. Each
//! may wait for its store, but all that are dropped within a second wait no longer together than
//! one alone: they share a *budget*.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::sync::std_lock;

/// No wait is longer, so that its end can be represented.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// What the drops of a time share: as long as a single one may wait.
#[derive(Default)]
pub(crate) struct DropBudget(Mutex<Option<Window>>);

#[derive(Clone, Copy)]
struct Window {
    began: Instant,
    /// How long drops may still wait that begin in this window.
    left: Duration,
}

/// The budget of all drops of the process.
pub(super) static OF_PROCESS: DropBudget = DropBudget(Mutex::new(None));

/// The bound on the wait of a drop.
#[derive(Clone, Copy)]
pub(super) struct DropWait {
    /// The longest wait.
    pub(super) longest: Duration,
    /// Drops with the same budget share it.
    pub(super) budget: &'static DropBudget,
}

/// A wait under way. What it took counts once this is dropped.
pub(super) struct Wait {
    budget: &'static DropBudget,
    window: Instant,
    began: Instant,
    pub(super) deadline: Instant,
}

impl DropWait {
    /// Begins a wait.
    pub(super) fn begin(self) -> Wait {
        let Self { longest, budget } = self;
        let now = Instant::now();
        let mut window = std_lock(&budget.0);
        let current = match *window {
            Some(current) if now.saturating_duration_since(current.began) < longest => current,
            _ => *window.insert(Window { began: now, left: longest }),
        };
        let deadline = now + current.left.min(longest).min(A_YEAR);
        Wait { budget, window: current.began, began: now, deadline }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(window) = &mut *std_lock(&self.budget.0)
            && window.began == self.window
        {
            window.left = window.left.saturating_sub(self.began.elapsed());
        }
    }
}
