//! The writer of a store: its thread, and what others see of it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant, SystemTime},
};

use super::{
    FlushError, PersistSettings,
    chores::Chores,
    entry::{DIRTY, Entry, FAILED, LATER, NOW},
    gauges::Gauges,
    queue::{Ask, Queue, Stage, Wish},
    round::Round,
    shelf::Shelf,
    watch,
};
use crate::{
    metrics::StoreMetrics,
    store::{StateStore, StoreError},
    sync::{panic_message, std_lock as lock},
};

/// The writers of this process, one for each store.
static WRITERS: Mutex<Vec<Weak<Writer>>> = Mutex::new(Vec::new());

pub(super) struct Writer {
    store_id: usize,
    /// How long a call to the store may take before the store counts as one that does not answer.
    pub(super) patience: Duration,
    thread: OnceLock<ThreadId>,
    pub(super) queue: Mutex<Queue>,
    /// For the writer's thread: there is something to do.
    pub(super) wake: Condvar,
    /// For those who wait for the writer to end.
    ended: Condvar,
    /// Since when the store is degraded, and why.
    pub(super) degraded: Mutex<Option<(SystemTime, String)>>,
    /// Since when the thread is in a call to the store.
    pub(super) busy: Mutex<Option<Instant>>,
    /// The call under way takes longer than anybody should wait for.
    pub(super) stalled: AtomicBool,
    /// What was read for many breakers at once.
    pub(super) shelf: Shelf,
    sweep: (Duration, Duration),
    pub(super) metrics: StoreMetrics,
}

/// What the writer's thread does next.
enum Work {
    /// Reads and saves these.
    Round(Vec<Arc<Entry>>),
    /// Reads a history.
    Reading,
    /// Does what nobody waits for.
    Chores,
}

/// Breakers that are gone and whose last snapshots wait for one store.
const MOST_LAST_WORDS: usize = 1000;

const NOBODY: &str = "nobody writes to the store any more";

pub(super) fn refuse(asks: Vec<Ask>, reason: &str) {
    for ask in asks {
        match ask.wish {
            Wish::Saved(reply) => reply(Err(FlushError::not_saved(reason))),
            Wish::History(reading) => reading.refuse(reason),
        }
    }
}

/// Every writer there is.
pub(super) fn all() -> Vec<Arc<Writer>> {
    lock(&WRITERS).iter().filter_map(Weak::upgrade).collect()
}

/// The writer of the store with this id, if it has one. It may be about to end.
pub(super) fn find(store_id: usize) -> Option<Arc<Writer>> {
    lock(&WRITERS).iter().filter_map(Weak::upgrade).find(|writer| writer.store_id == store_id)
}

/// Gives the entry to the writer of its store: to this one, if it was found and takes more entries, or else to
/// another, which is started if need be.
pub(super) fn join(
    found: Option<Arc<Writer>>,
    store: Arc<dyn StateStore>,
    entry: &Arc<Entry>,
    settings: &PersistSettings,
) -> Arc<Writer> {
    if let Some(writer) = found.filter(|writer| writer.admit(entry)) {
        return writer;
    }
    let (store_id, metrics) = (store.id(), StoreMetrics::of(&*store));
    let mut writers = lock(&WRITERS);
    let running = writers
        .iter()
        .filter_map(Weak::upgrade)
        .find(|writer| writer.store_id == store_id && writer.admit(entry));
    if let Some(writer) = running {
        return writer;
    }
    let writer = Arc::new(Writer::new(store_id, settings, metrics));
    writer.admit(entry);
    writers.push(Arc::downgrade(&writer));
    drop(writers);
    writer.start(store);
    writer
}

impl Writer {
    fn new(store_id: usize, settings: &PersistSettings, metrics: StoreMetrics) -> Self {
        Self {
            store_id,
            patience: watch::PATIENCE.max(settings.load_wait).max(settings.drop_wait),
            thread: OnceLock::new(),
            queue: Mutex::new(Queue::new()),
            wake: Condvar::new(),
            ended: Condvar::new(),
            degraded: Mutex::new(None),
            busy: Mutex::new(None),
            stalled: AtomicBool::new(false),
            shelf: Shelf::default(),
            sweep: settings.sweep,
            metrics,
        }
    }

    /// False if this writer is about to end.
    fn admit(&self, entry: &Arc<Entry>) -> bool {
        let mut queue = lock(&self.queue);
        let running = queue.stage == Stage::Running;
        if running {
            queue.add(entry);
        }
        running
    }

    fn start(self: &Arc<Self>, store: Arc<dyn StateStore>) {
        let writer = Arc::clone(self);
        let thread = thread::Builder::new()
            .name("breaker-store".to_owned())
            .spawn(move || writer.run(store));
        if let Err(error) = thread {
            let mut queue = lock(&self.queue);
            queue.stage = Stage::Ended;
            let asks = std::mem::take(&mut queue.asks);
            drop(queue);
            self.leave();
            refuse(asks, NOBODY);
            self.degrade(format!(
                "the thread that writes to the store could not be started: {error}"
            ));
        }
    }

    fn run(self: Arc<Self>, store: Arc<dyn StateStore>) {
        // Nobody else sets it.
        let _ = self.thread.set(thread::current().id());
        let mut chores = Chores::new(self.sweep);
        let mut gauges = Gauges::default();
        while let Some(work) = self.next(chores.due(&self).into_iter().chain(gauges.due()).min()) {
            match work {
                Work::Round(batch) => {
                    let mut round = Round::run(&self, &*store, &batch);
                    if !round.asked {
                        self.probe(&*store, &mut round);
                    }
                    chores.trim_later(&mut round.to_trim);
                    self.conclude(&batch, &round);
                    self.read_one(&*store);
                    if !lock(&self.queue).is_failing() {
                        chores.trim_one(&self, &*store);
                        self.shelf.tend(&self, &*store);
                    }
                }
                Work::Reading => self.read_one(&*store),
                Work::Chores => chores.work(&self, &*store),
            }
            gauges.tell(&self);
        }
        self.tell_gauges();
        self.leave();
        // A store may panic when it is dropped.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(store)));
        lock(&self.queue).stage = Stage::Ended;
        self.ended.notify_all();
    }

    /// Waits for something to do. `None`: there is nothing and nobody left.
    fn next(&self, chores_due: Option<Instant>) -> Option<Work> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.entries.is_empty() && queue.asks.is_empty() && queue.readings.is_empty() {
                queue.stage = Stage::Ending;
                return None;
            }
            let now = Instant::now();
            let due = queue.due(now);
            if due.is_some_and(|due| due <= now) {
                return Some(Work::Round(queue.take()));
            }
            if !queue.readings.is_empty() {
                return Some(Work::Reading);
            }
            // A store that fails has enough to do.
            let chores_due = chores_due.filter(|_| !queue.is_failing());
            if chores_due.is_some_and(|due| due <= now) {
                return Some(Work::Chores);
            }
            let wait = due.into_iter().chain(chores_due).min().map(|due| due - now);
            queue = match wait {
                Some(wait) => {
                    self.wake.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// A round that asked the store for nothing says nothing about it. While the store is degraded, that would
    /// leave it so for ever, unless there are those whose next try will tell.
    fn probe(&self, store: &dyn StateStore, round: &mut Round) {
        let queue = lock(&self.queue);
        if queue.awaits_retry() {
            return;
        }
        round.asked = true;
        let first = queue.entries.iter().next().map(Arc::clone);
        drop(queue);
        if self.is_healthy() {
            return;
        }
        if let Some(entry) = first
            && let Err(error) = self.call(|| store.load(&entry.key))
        {
            round.note(error, entry.name());
        }
    }

    fn conclude(&self, batch: &[Arc<Entry>], round: &Round) {
        let reason = round.reason();
        if let Some(reason) = &reason {
            self.degrade(reason.clone());
        }
        let mut queue = lock(&self.queue);
        let verdict = round.verdict(batch);
        let mut over = Vec::new();
        for entry in batch {
            let failed = round.failed(entry);
            if !failed {
                entry.clear(FAILED);
            }
            // What changed while this round was at work is not saved by it.
            let changed = !failed && entry.is_detached() && entry.has(DIRTY);
            if changed {
                queue.put_back(entry);
            } else if entry.is_over(!failed) {
                queue.remove(entry);
                over.push(entry);
            } else if failed {
                queue.set_aside(entry);
            }
        }
        let well = queue.conclude(verdict);
        // The drop of a breaker waits for the tries to come.
        let (waiting, asks) =
            std::mem::take(&mut queue.in_flight).into_iter().partition(|Ask { entry, .. }| {
                round.failed(entry) && entry.is_detached() && !entry.is_over(false)
            });
        queue.in_flight = waiting;
        drop(queue);
        if well {
            self.heal();
        }
        for entry in over {
            entry.release();
        }
        self.answer(asks, round, reason.as_deref());
    }

    fn answer(&self, asks: Vec<Ask>, round: &Round, reason: Option<&str>) {
        for Ask { entry, wish } in asks {
            match (wish, reason) {
                (Wish::Saved(reply), Some(reason)) if round.failed(&entry) => {
                    reply(Err(FlushError::not_saved(reason)));
                }
                (Wish::Saved(reply), _) => reply(entry.outcome()),
                (Wish::History(reading), Some(reason)) if round.is_no_use_to(&entry) => {
                    reading.refuse(reason);
                }
                (Wish::History(reading), _) => lock(&self.queue).readings.push_back(reading),
            }
        }
    }

    /// Takes this writer off the list, so that its store's next breaker starts another.
    fn leave(&self) {
        lock(&WRITERS)
            .retain(|writer| writer.strong_count() > 0 && !std::ptr::eq(writer.as_ptr(), self));
    }

    /// Calls the store: watched for hanging, and a panic is an error.
    pub(super) fn call<T>(
        &self,
        job: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        *lock(&self.busy) = Some(Instant::now());
        watch::begin();
        let result = catch_unwind(AssertUnwindSafe(job));
        *lock(&self.busy) = None;
        self.stalled.store(false, SeqCst);
        result.unwrap_or_else(|panic| {
            let message = panic_message(&*panic);
            Err(StoreError::Other(format!("it panicked: {message}").into()))
        })
    }

    /// The same for a call that saves something: told to the recorder of metrics.
    pub(super) fn write(
        &self,
        job: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.metrics.write(|| self.call(job))
    }

    /// On a request's way: marks the entry as changed, to be saved at once.
    pub(super) fn mark_now(&self, entry: &Arc<Entry>) {
        if entry.set(NOW | DIRTY) & NOW == 0 && lock(&self.queue).push_now(entry) {
            self.wake.notify_one();
        }
    }

    /// On a request's way: marks the entry as changed, to be saved within its flush interval.
    pub(super) fn mark_later(&self, entry: &Arc<Entry>) {
        if entry.has(DIRTY) || entry.set(LATER | DIRTY) & LATER != 0 {
            return;
        }
        if lock(&self.queue).push_later(entry) {
            self.wake.notify_one();
        }
    }

    /// Asks the writer to deal with the ask's entry next, and to reply.
    pub(super) fn ask(&self, ask: Ask) {
        let mut queue = lock(&self.queue);
        let refusal = if queue.stage != Stage::Running {
            NOBODY
        } else if self.is_stalled() {
            queue.put_back(&ask.entry);
            "the store does not answer"
        } else {
            queue.asks.push(ask);
            drop(queue);
            self.wake.notify_one();
            return;
        };
        drop(queue);
        refuse(vec![ask], refusal);
    }

    /// Whether what the store holds of a breaker may be older than what it knew last.
    pub(super) fn has_last_words(&self) -> bool {
        lock(&self.queue).detached > 0
    }

    /// Whether the last snapshot of one more breaker may wait here for a store that does not
    /// answer: breakers that come and go must not fill the memory.
    pub(super) fn has_room_for_last_words(&self) -> bool {
        lock(&self.queue).detached < MOST_LAST_WORDS
    }

    pub(super) fn detach(&self, entry: &Arc<Entry>, try_until: Instant) {
        lock(&self.queue).detach(entry, try_until);
    }

    /// Drops an entry that the writer did not get to.
    pub(super) fn forget(&self, entry: &Arc<Entry>) {
        lock(&self.queue).remove(entry);
        entry.release();
        self.wake.notify_one();
    }

    /// Waits until the store was released, if nobody is left on it.
    pub(super) fn wait_for_end(&self, until: Instant) {
        let mut queue = lock(&self.queue);
        while queue.stage != Stage::Ended && queue.entries.is_empty() {
            let Some(left) = until.checked_duration_since(Instant::now()) else { return };
            queue = self.ended.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waiting for the writer on its own thread would be waiting for oneself.
    pub(super) fn is_this_thread(&self) -> bool {
        self.thread.get() == Some(&thread::current().id())
    }
}
