//! Stores: the contract of every store, and breakers on stores that work and that do not.

#[path = "../support/mod.rs"]
mod support;

mod configured;
mod contract;
mod damaged_snapshots;
mod drops;
mod faults;
mod file_store;
mod history;
mod idle_loss;
mod large_windows;
mod last_words;
mod late_restore;
mod names;
mod near_away;
mod one_name;
#[cfg(unix)]
mod redis;
mod scale;
mod stores;
mod tiered;
mod which_store;

#[test]
fn child_process() {
    support::child::enter(&[
        #[cfg(target_os = "linux")]
        (faults::child::CELL, faults::child::run_cell),
        #[cfg(target_os = "linux")]
        (faults::child::HOLDER, faults::child::hold),
        #[cfg(target_os = "linux")]
        (faults::forked::PARENT, faults::forked::fork),
        #[cfg(target_os = "linux")]
        (faults::descriptors::EXHAUSTED, faults::descriptors::live),
        #[cfg(target_os = "linux")]
        (faults::threadless::LIMITED, faults::threadless::live),
        #[cfg(target_os = "linux")]
        (faults::threadless_later::LIMITED_LATER, faults::threadless_later::live),
        #[cfg(target_os = "linux")]
        (faults::few_threads::FEW_THREADS, faults::few_threads::live),
        #[cfg(target_os = "linux")]
        (faults::few_threads::QUIET, faults::few_threads::live_quietly),
        #[cfg(target_os = "linux")]
        (faults::few_threads::QUIET_GROUP, faults::few_threads::live_quietly_with_a_group),
        #[cfg(target_os = "linux")]
        (faults::unwritable::READER, faults::unwritable::read),
        #[cfg(target_os = "linux")]
        (faults::mishaps::LOCKED_OUT, faults::mishaps::lose_permission),
        #[cfg(target_os = "linux")]
        (faults::mishaps::CROWDED, faults::mishaps::save_in_part),
        (one_name::processes::OWNER, one_name::processes::own),
        ("watcher", file_store::watch),
        #[cfg(target_os = "linux")]
        (file_store::WRITER, file_store::write_twice),
        #[cfg(target_os = "linux")]
        (which_store::FILLER, which_store::fill),
        #[cfg(target_os = "linux")]
        (which_store::READER, which_store::read),
    ]);
}
