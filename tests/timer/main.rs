//! Deadlines without traffic and without a runtime: one thread of the process handles them all.
//!
//! The tests run one at a time, because some of them keep that thread busy, and count threads.

#[path = "../support/recorder.rs"]
mod recorder;
#[path = "../support/mod.rs"]
mod support;

mod health_checks;
#[cfg(target_os = "linux")]
mod metrics;
#[cfg(target_os = "linux")]
mod processes;
#[cfg(target_os = "linux")]
mod scenes;
mod transitions;
mod waiting;

use std::{
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tower_breaker::{Breaker, BreakerBuilder, Trip};

#[test]
fn child_process() {
    support::child::enter(&[
        #[cfg(target_os = "linux")]
        (processes::LIMITED, processes::live_without_threads),
        #[cfg(target_os = "linux")]
        (processes::FORKING, processes::fork),
        #[cfg(target_os = "linux")]
        (metrics::LIMITED, metrics::live_without_threads),
        #[cfg(target_os = "linux")]
        (metrics::FORKING, metrics::fork),
    ]);
}

/// Keeps all other tests from running.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of the timer's thread.
const TIMER: &str = "breaker-timer";

const OPEN_TIME: Duration = Duration::from_millis(100);

/// A breaker on the system's clock that opens at the first failure, for a short time.
fn quick(name: &str) -> BreakerBuilder {
    let builder = Breaker::builder(name).trip_on(Trip::consecutive_failures(1));
    builder.recovery_timeout(OPEN_TIME)
}

fn trip(breaker: &Breaker) {
    breaker.try_acquire().expect("closed").failure();
}

/// How many threads of this process have this name.
fn threads(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux");
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|found| found.trim_end() == name).count()
}
