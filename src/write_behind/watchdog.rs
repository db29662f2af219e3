//! The watchdog: a thread that notices calls to stores that do not return. The thread that made
//! such a call cannot report it.
//!
//! One thread watches every store of the process, and only while calls are made. What compares the
//! age of a call is [`Watched::check`]: that of an inbox is in `announce`. (The far store of
//! a `Tiered` is called by a thread of its own, with a check of its own: `Far::notice_hang`.)

use std::{
    sync::{
        Mutex, Weak,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use super::threads;
use crate::{
    process::{EachProcess, Process},
    sync::contain,
};

/// A call that takes longer than this is overdue, unless breakers are configured to wait longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// How many checks without a call under way end the watchdog. The next call starts it again.
const IDLE_CHECKS: u32 = 10;

/// The number of the process in which the thread runs; 0 if there is none.
static RUNS_IN: AtomicU32 = AtomicU32::new(0);
static WATCHED: EachProcess<Vec<Weak<dyn Watched>>> =
    EachProcess::new([const { Mutex::new(Vec::new()) }; 4]);

/// Something that calls a store.
pub(super) trait Watched: Send + Sync {
    /// Reports a call that is overdue. Returns whether any call is under way.
    fn check(&self) -> bool;
}

/// Watches this from now on, for as long as it lives.
pub(super) fn watch(watched: Weak<dyn Watched>) {
    // Without the list, threads that wait notice an overdue call by themselves.
    if let Some(mut all) = WATCHED.claim() {
        all.push(watched);
    }
}

/// To be called when a call to a store has begun.
pub(super) fn wake() {
    // A forked process has inherited the number, but not the thread.
    let process = Process::current().id();
    if RUNS_IN.load(SeqCst) == process || RUNS_IN.swap(process, SeqCst) == process {
        return;
    }
    if threads::spawn("breaker-watchdog", move || run(process)).is_err() {
        // The next call tries again. Callers that wait, and those that ask for the health, notice
        // an overdue call by themselves.
        RUNS_IN.store(0, SeqCst);
    }
}

fn run(process: u32) {
    let mut idle = 0;
    loop {
        thread::sleep(PATIENCE / 2);
        if check_all() {
            idle = 0;
            continue;
        }
        idle += 1;
        if idle > IDLE_CHECKS {
            RUNS_IN.store(0, SeqCst);
            // A call that began before the line above relies on this thread.
            if !check_all() || RUNS_IN.swap(process, SeqCst) == process {
                return;
            }
            idle = 0;
        }
    }
}

fn check_all() -> bool {
    let Some(mut all) = WATCHED.lock() else { return false };
    all.retain(|watched| watched.strong_count() > 0);
    let living: Vec<_> = all.iter().filter_map(Weak::upgrade).collect();
    drop(all);
    let mut under_way = false;
    for watched in living {
        // One that panics must not keep the others from being watched.
        contain(|| "the check of a store".to_owned(), || under_way |= watched.check());
    }
    under_way
}
