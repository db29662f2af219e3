//! Stores: what every store keeps, and what a store in trouble must not do to a breaker.

#[path = "../support/mod.rs"]
mod support;

mod contract;
mod damaged_snapshots;
mod faults;
mod file_store;
mod history;
mod last_words;
mod names;
mod scale;
mod stores;

#[test]
fn child_process() {
    support::child::enter(&[
        #[cfg(target_os = "linux")]
        (faults::child::CELL, faults::child::run_cell),
        #[cfg(target_os = "linux")]
        (faults::child::HOLDER, faults::child::hold),
        ("watcher", file_store::watch),
    ]);
}
