//! The watchdog: a thread that notices calls to stores that do not return. The thread that made
//! such a call cannot report it.
//!
//! One thread watches every store of the process, and only while calls are made.

use std::{
    sync::{
        Mutex, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use crate::sync::std_lock;

/// A call that takes longer than this is overdue, unless breakers are configured to wait longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// How many checks without a call under way end the watchdog. The next call starts it again.
const IDLE_CHECKS: u32 = 10;

static RUNS: AtomicBool = AtomicBool::new(false);
static WATCHED: Mutex<Vec<Weak<dyn Watched>>> = Mutex::new(Vec::new());

/// Something that calls a store.
pub(super) trait Watched: Send + Sync {
    /// Reports a call that is overdue. Returns whether any call is under way.
    fn check(&self) -> bool;
}

/// Watches this from now on, for as long as it lives.
pub(super) fn watch(watched: Weak<dyn Watched>) {
    std_lock(&WATCHED).push(watched);
}

/// To be called when a call to a store has begun. Usually one load.
pub(super) fn wake() {
    if RUNS.load(SeqCst) || RUNS.swap(true, SeqCst) {
        return;
    }
    let thread = thread::Builder::new().name("breaker-watchdog".to_owned()).spawn(run);
    if thread.is_err() {
        // The next call tries again. Callers that wait notice an overdue call by themselves.
        RUNS.store(false, SeqCst);
    }
}

fn run() {
    let mut idle = 0;
    loop {
        thread::sleep(PATIENCE / 2);
        if check_all() {
            idle = 0;
            continue;
        }
        idle += 1;
        if idle > IDLE_CHECKS {
            RUNS.store(false, SeqCst);
            // A call that began before the line above relies on this thread.
            if !check_all() || RUNS.swap(true, SeqCst) {
                return;
            }
            idle = 0;
        }
    }
}

fn check_all() -> bool {
    let mut all = std_lock(&WATCHED);
    all.retain(|watched| watched.strong_count() > 0);
    let living: Vec<_> = all.iter().filter_map(Weak::upgrade).collect();
    drop(all);
    living.iter().fold(false, |under_way, watched| watched.check() | under_way)
}
