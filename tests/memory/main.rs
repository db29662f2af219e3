//! The memory of breakers: what is allocated, and what a breaker reuses of one that was dropped.
//!
//! A binary of its own, whose tests run one at a time: it counts allocations, and a
//! breaker of another test could take the memory that a test expects to be reused.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod allocations;
mod attack;
mod attack_times;
mod keyed;
#[cfg(target_os = "linux")]
mod keyed_stored;
mod reuse;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Keeps all other tests from running.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn child_process() {
    support::child::enter(&[
        #[cfg(target_os = "linux")]
        (keyed_stored::OPENER, keyed_stored::open_all),
    ]);
}
