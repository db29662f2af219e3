//! A look at the writers from outside: one that is stuck in its store cannot say so itself.

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
    time::Duration,
};

use super::writer;

/// A store that has not answered for this long counts as one that does not, unless breakers are set to wait
/// longer than that.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Looks with nothing to see after which the watch ends. The next call to a store starts it again.
const IDLE_LOOKS: u32 = 10;

static WATCHING: AtomicBool = AtomicBool::new(false);

/// To be called when a call to a store begins. One thread watches the writers of all stores, and only while
/// there is something to watch, so this is one load as a rule.
pub(super) fn begin() {
    if WATCHING.load(SeqCst) || WATCHING.swap(true, SeqCst) {
        return;
    }
    let watch = thread::Builder::new().name("breaker-watch".to_owned()).spawn(watch);
    if watch.is_err() {
        // The next call tries again. Those who wait for a store notice by themselves that it hangs.
        WATCHING.store(false, SeqCst);
    }
}

fn watch() {
    let mut idle = 0;
    loop {
        thread::sleep(PATIENCE / 2);
        if look() {
            idle = 0;
            continue;
        }
        idle += 1;
        if idle > IDLE_LOOKS {
            WATCHING.store(false, SeqCst);
            // A call that began before the line above relies on this watch.
            if !look() || WATCHING.swap(true, SeqCst) {
                return;
            }
            idle = 0;
        }
    }
}

/// True if any writer is in a call to its store.
fn look() -> bool {
    let mut busy = false;
    for writer in writer::all() {
        if let Some(since) = writer.busy_for() {
            busy = true;
            if since >= writer.patience {
                writer.stall(since);
                // Its own thread cannot.
                writer.tell_gauges();
            }
        }
    }
    busy
}
