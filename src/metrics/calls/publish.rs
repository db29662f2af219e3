//! What was counted, to the metrics facade: each second, on the timer thread.

use std::{
    cell::Cell,
    sync::{
        Arc, Mutex,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use super::{
    durations,
    meter::{self, Meter},
    series,
};
#[cfg(not(tower_breaker_loom))]
use crate::timer::housekeeping;
use crate::{
    clock::{SystemClock, Tick},
    metrics::{record, recorder},
    sync::{contain, std_lock},
    timer::housekeeping::OnDeadline,
};

const INTERVAL: Duration = Duration::from_secs(1);

/// How many meters may wait for the publication of their end. A thread that ends one more publishes
/// it itself, so that short-lived breakers do not pile up.
const MAX_ENDED: usize = 1024;

/// How many meters are looked up at a time.
const BATCH: usize = 256;

static PUBLISHER: Publisher = Publisher {
    scheduled: Mutex::new(false),
    breakers: AtomicUsize::new(0),
    some_wait: AtomicBool::new(false),
    beginning: Mutex::new(None),
    is_read: AtomicBool::new(false),
    ended: Mutex::new(Vec::new()),
};

struct Publisher {
    /// Whether the timer thread calls again.
    scheduled: Mutex<bool>,
    /// How many breakers count, or wait for their first call.
    breakers: AtomicUsize,
    /// Whether breakers that were built before their numbers were read may wait for a call.
    some_wait: AtomicBool,
    /// What makes them begin. The lock is held meanwhile.
    beginning: Mutex<Option<fn()>>,
    /// Whether the numbers of a breaker have been read without a recorder.
    is_read: AtomicBool,
    /// Meters that have lost their last breaker since the last publication.
    ended: Mutex<Vec<Arc<Meter>>>,
}

/// A breaker that counts, or waits for its first call. While there is one, the timer thread
/// looks for a recorder.
pub(crate) struct CountedBreaker(());

impl CountedBreaker {
    pub(crate) fn new() -> Self {
        PUBLISHER.breakers.fetch_add(1, Relaxed);
        Self(())
    }
}

impl Drop for CountedBreaker {
    fn drop(&mut self) {
        PUBLISHER.breakers.fetch_sub(1, Relaxed);
    }
}

/// Whether the numbers of breakers are read, so that a new one begins to count at once. Otherwise
/// it waits, and once they are, the timer thread calls `begin_waiting`, which begins to
/// count for all that wait.
pub(crate) fn is_read(begin_waiting: fn()) -> bool {
    let is_first = !std::mem::replace(&mut *std_lock(&PUBLISHER.scheduled), true);
    // Without the lock: a thread that cannot be started is logged.
    if is_first {
        *std_lock(&PUBLISHER.beginning) = Some(begin_waiting);
        schedule();
    } else {
        ensure_thread();
    }
    let is_read = PUBLISHER.is_read.load(Acquire) || recorder().is_some();
    if !is_read {
        PUBLISHER.some_wait.store(true, Release);
    }
    is_read
}

/// The numbers of a breaker are read, which may be those of several.
pub(crate) fn begin_all() {
    PUBLISHER.is_read.store(true, Release);
    ensure_thread();
    begin_waiting();
}

fn begin_waiting() {
    let beginning = std_lock(&PUBLISHER.beginning);
    if PUBLISHER.some_wait.swap(false, AcqRel)
        && let Some(begin) = *beginning
    {
        begin();
    }
}

/// A meter has lost its last breaker.
pub(super) fn end(meter: &Arc<Meter>) {
    // A recorder may drop breakers too.
    if recorder().is_none() && !IS_PUBLISHING.get() {
        return remove(meter);
    }
    let are_many = {
        let mut ended = std_lock(&PUBLISHER.ended);
        ended.push(Arc::clone(meter));
        ended.len() >= MAX_ENDED
    };
    if are_many && !IS_PUBLISHING.get() {
        publish_ended();
    }
}

/// Removes a meter without publishing its end.
fn remove(meter: &Arc<Meter>) {
    let mut published = std_lock(&meter.published);
    published.is_removed |= meter::remove(meter);
}

#[cfg(not(tower_breaker_loom))]
fn schedule() {
    housekeeping::schedule(&PUBLISHER, SystemClock::tick().after(INTERVAL), Tick::NEVER);
}

/// Ensures that what is scheduled happens: the thread may not have been startable, or is that of
/// the process from which this one was forked. `false`: it cannot be started.
#[cfg(not(tower_breaker_loom))]
pub(super) fn ensure_thread() -> bool {
    housekeeping::ensure_thread()
}

/// A model has no threads but its own.
#[cfg(tower_breaker_loom)]
pub(super) fn ensure_thread() -> bool {
    true
}

/// A model has no threads but its own.
#[cfg(tower_breaker_loom)]
fn schedule() {
    let _: &dyn OnDeadline = &PUBLISHER;
    let _ = (INTERVAL, Tick::NEVER, SystemClock::tick);
}

impl OnDeadline for Publisher {
    fn on_deadline(&'static self, _: Tick) {
        contain(whose, || {
            if recorder().is_some() {
                begin_waiting();
                publish_all();
            } else {
                std::mem::take(&mut *std_lock(&self.ended)).iter().for_each(remove);
            }
        });
        let mut scheduled = std_lock(&self.scheduled);
        let goes_on = self.breakers.load(Relaxed) > 0 || !meter::is_empty();
        *scheduled = goes_on;
        drop(scheduled);
        if goes_on {
            schedule();
        }
    }
}

/// Publishes what every meter has counted, and removes those that have ended.
fn publish_all() {
    publish_ended();
    let mut slot = 0;
    while let Some(meters) = meter::meters_from(slot, BATCH) {
        publish(&meters);
        slot += BATCH;
    }
}

fn publish_ended() {
    let ended = std::mem::take(&mut *std_lock(&PUBLISHER.ended));
    publish(&ended);
}

fn publish(meters: &[Arc<Meter>]) {
    for meter in meters {
        IS_PUBLISHING.set(true);
        contain(whose, || update(meter));
        IS_PUBLISHING.set(false);
    }
}

/// The numbers of a breaker are as of its clock's time, and it begins to count then.
fn whose() -> String {
    "the clock of a breaker".to_owned()
}

thread_local! {
    /// Whether this thread calls the recorder.
    static IS_PUBLISHING: Cell<bool> = const { Cell::new(false) };
}

/// Records what has changed, and removes a meter that has ended.
fn update(meter: &Arc<Meter>) {
    let mut published = std_lock(&meter.published);
    if published.is_removed {
        return;
    }
    let is_over = meter::is_over(meter);
    let numbers = meter.read();
    record(|recorder| {
        let labels = meter.labels.series();
        let is_of_group = meter.is_of_group.load(Relaxed);
        published.record(recorder, &numbers, &labels, is_of_group);
        if meter.measures.load(Relaxed) {
            durations::drain(meter.slot, |outcome, seconds, calls| {
                series::record_duration(&labels, outcome, seconds, calls);
            });
        }
    });
    published.is_removed = is_over && meter::remove(meter);
}
