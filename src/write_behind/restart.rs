//! Starts the writers that could not be started, although nothing uses their stores: the
//! timer thread tries it every second.
//!
//! What keeps a writer from being started keeps that thread, too, unless it has run before. Calls
//! that succeed start none. The next circuit that opens, caller that waits or breaker that is built
//! does, on whatever store.

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use super::inboxes;
#[cfg(not(tower_breaker_loom))]
use crate::timer::housekeeping;
use crate::{
    clock::{SystemClock, Tick},
    timer::housekeeping::OnDeadline,
};

const INTERVAL: Duration = Duration::from_secs(1);

static RESTART: Restart = Restart { is_scheduled: AtomicBool::new(false) };

struct Restart {
    is_scheduled: AtomicBool,
}

/// To be called when a writer could not be started.
pub(super) fn retry_later() {
    if !RESTART.is_scheduled.swap(true, SeqCst) {
        schedule(SystemClock::tick().after(INTERVAL));
    }
}

/// To be called now and then: if a writer waits for a thread, ensures that one tries to start it.
pub(super) fn go_on() {
    if RESTART.is_scheduled.load(SeqCst) {
        ensure_thread();
    }
}

#[cfg(not(tower_breaker_loom))]
fn ensure_thread() {
    // If it cannot be started, the next need tries again.
    let _ = housekeeping::ensure_thread();
}

#[cfg(tower_breaker_loom)]
fn ensure_thread() {}

#[cfg(not(tower_breaker_loom))]
fn schedule(at: Tick) {
    housekeeping::schedule(&RESTART, at, Tick::NEVER);
}

/// A model has no threads but its own.
#[cfg(tower_breaker_loom)]
fn schedule(_: Tick) {
    let _: &dyn OnDeadline = &RESTART;
}

impl OnDeadline for Restart {
    fn on_deadline(&'static self, _: Tick) {
        self.is_scheduled.store(false, SeqCst);
        let mut inboxes = inboxes::all();
        inboxes.retain(|inbox| !inbox.is_forked());
        for inbox in &inboxes {
            inbox.retry_start();
        }
        if inboxes.iter().any(|inbox| inbox.starter.waits()) {
            retry_later();
        }
    }
}
