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
    FlushError, PersistSettings, StoreHealth,
    entry::{DIRTY, Entry, LATER, NOW, SAVING},
    queue::{Ask, Queue, Stage},
    round::Round,
    watch,
};
use crate::store::{StateStore, StoreError, lock};

/// The writers of this process, one for each store.
static WRITERS: Mutex<Vec<Weak<Writer>>> = Mutex::new(Vec::new());

pub(super) struct Writer {
    instance: usize,
    /// How long a call to the store may take before the store counts as one that does not answer.
    pub(super) patience: Duration,
    thread: OnceLock<ThreadId>,
    queue: Mutex<Queue>,
    /// For the writer's thread: there is something to do.
    wake: Condvar,
    /// For those who wait for the writer to end.
    ended: Condvar,
    /// Since when the store is degraded, and why.
    degraded: Mutex<Option<(SystemTime, String)>>,
    /// Since when the thread is in a call to the store.
    busy: Mutex<Option<Instant>>,
    /// The call under way takes longer than anybody should wait for.
    stalled: AtomicBool,
}

/// Breakers that are gone and whose last snapshots wait for one store.
const MOST_LAST_WORDS: usize = 1000;

const NOBODY: &str = "nobody writes to the store any more";

fn refuse(asks: Vec<Ask>, reason: &str) {
    for ask in asks {
        (ask.reply)(Err(FlushError::not_saved(reason)));
    }
}

/// Every writer there is.
pub(super) fn all() -> Vec<Arc<Writer>> {
    lock(&WRITERS).iter().filter_map(Weak::upgrade).collect()
}

/// Gives the entry to the writer of its store, and starts that writer if there is none.
pub(super) fn join(
    store: Arc<dyn StateStore>,
    entry: &Arc<Entry>,
    settings: &PersistSettings,
) -> Arc<Writer> {
    let instance = store.instance();
    let mut writers = lock(&WRITERS);
    let running = writers
        .iter()
        .filter_map(Weak::upgrade)
        .find(|writer| writer.instance == instance && writer.admit(entry));
    if let Some(writer) = running {
        return writer;
    }
    let writer = Arc::new(Writer::new(instance, settings));
    writer.admit(entry);
    writers.push(Arc::downgrade(&writer));
    drop(writers);
    writer.start(store);
    writer
}

impl Writer {
    fn new(instance: usize, settings: &PersistSettings) -> Self {
        Self {
            instance,
            patience: watch::PATIENCE.max(settings.load_wait).max(settings.drop_wait),
            thread: OnceLock::new(),
            queue: Mutex::new(Queue::new()),
            wake: Condvar::new(),
            ended: Condvar::new(),
            degraded: Mutex::new(None),
            busy: Mutex::new(None),
            stalled: AtomicBool::new(false),
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
        while let Some(batch) = self.next() {
            let mut round = Round::run(&self, &*store, &batch);
            if !round.asked {
                self.probe(&*store, &mut round);
            }
            self.conclude(&batch, &round);
        }
        self.leave();
        // A store may panic when it is dropped.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(store)));
        lock(&self.queue).stage = Stage::Ended;
        self.ended.notify_all();
    }

    /// Waits for something to do. `None`: there is nothing and nobody left.
    fn next(&self) -> Option<Vec<Arc<Entry>>> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.entries.is_empty() && queue.asks.is_empty() {
                queue.stage = Stage::Ending;
                return None;
            }
            let now = Instant::now();
            queue = match queue.due(now) {
                Some(due) if due <= now => return Some(queue.take()),
                Some(due) => {
                    self.wake
                        .wait_timeout(queue, due - now)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// A round that asked the store for nothing says nothing about it. While the store is degraded, that would
    /// leave it so for ever.
    fn probe(&self, store: &dyn StateStore, round: &mut Round) {
        if lock(&self.degraded).is_none() {
            return;
        }
        let first = lock(&self.queue).entries.values().next().map(Arc::clone);
        if let Some(entry) = first {
            round.error = self.call(|| store.load(&entry.key)).err();
        }
    }

    fn conclude(&self, batch: &[Arc<Entry>], round: &Round) {
        let reason = round.error.as_ref().map(ToString::to_string);
        match &reason {
            Some(reason) => self.degrade(reason.clone()),
            None => self.heal(),
        }
        let mut over = Vec::new();
        let mut queue = lock(&self.queue);
        match &reason {
            Some(_) => queue.failed(),
            None => queue.succeeded(),
        }
        for entry in batch {
            let failed = round.failed(entry);
            // What changed while this round was at work is not saved by it.
            let changed = !failed && entry.is_detached() && entry.has(DIRTY);
            if changed || (failed && !entry.is_over(false)) {
                queue.put_back(entry);
            } else if entry.is_over(!failed) {
                queue.remove(entry);
                over.push(entry);
            }
        }
        // The drop of a breaker waits for the tries to come.
        let (waiting, asks) = std::mem::take(&mut queue.in_flight).into_iter().partition(|ask| {
            round.failed(&ask.entry) && ask.entry.is_detached() && !ask.entry.is_over(false)
        });
        queue.in_flight = waiting;
        drop(queue);
        for entry in over {
            entry.release();
        }
        for ask in asks {
            let result = match &reason {
                Some(reason) if round.failed(&ask.entry) => {
                    Err(FlushError::not_saved(reason.clone()))
                }
                _ => ask.entry.outcome(),
            };
            (ask.reply)(result);
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
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            Err(StoreError::Other(format!("it panicked: {}", text.unwrap_or("no message")).into()))
        })
    }

    pub(super) fn busy_for(&self) -> Option<Duration> {
        lock(&self.busy).map(|since| since.elapsed())
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.load(SeqCst)
    }

    /// The store does not answer: nobody is left waiting for it.
    pub(super) fn stall(&self, waited: Duration) {
        if self.stalled.swap(true, SeqCst) {
            return;
        }
        let reason =
            format!("the store does not answer (waited {:.1} s so far)", waited.as_secs_f64());
        self.degrade(reason.clone());
        let mut queue = lock(&self.queue);
        let mut asks = std::mem::take(&mut queue.in_flight);
        asks.append(&mut queue.asks);
        for ask in &asks {
            queue.put_back(&ask.entry);
        }
        // Should the store have answered just now, the next try finds out.
        queue.failed();
        drop(queue);
        self.wake.notify_one();
        refuse(asks, &reason);
    }

    fn degrade(&self, reason: String) {
        let mut degraded = lock(&self.degraded);
        if let Some((_, known)) = &mut *degraded {
            *known = reason;
            return;
        }
        *degraded = Some((SystemTime::now(), reason.clone()));
        drop(degraded);
        tracing::warn!(
            target: "tower_breaker",
            reason,
            "the store of the circuit breakers is degraded: they go on in memory, and the store is tried again \
             and again; what is not saved by then, a restart forgets",
        );
        self.announce();
    }

    fn heal(&self) {
        let Some((since, _)) = lock(&self.degraded).take() else { return };
        lock(&self.queue).mark_all();
        let seconds = since.elapsed().unwrap_or_default().as_secs_f64();
        tracing::info!(
            target: "tower_breaker",
            degraded_seconds = seconds,
            "the store of the circuit breakers works again: saving what it missed",
        );
        self.announce();
    }

    fn announce(&self) {
        let entries = lock(&self.queue).entries.values().map(Arc::clone).collect::<Vec<_>>();
        let health = self.health();
        for entry in entries {
            entry.tell(&health);
        }
    }

    pub(super) fn health(&self) -> StoreHealth {
        let Some((since, reason)) = lock(&self.degraded).clone() else {
            return StoreHealth::Healthy;
        };
        let pending =
            lock(&self.queue).entries.values().filter(|entry| entry.has(DIRTY | SAVING)).count();
        StoreHealth::Degraded { since, reason, pending }
    }

    /// On a request's way: marks the entry as changed, to be saved at once.
    pub(super) fn mark_now(&self, entry: &Arc<Entry>) {
        if entry.set(NOW | DIRTY) & NOW == 0 {
            lock(&self.queue).push_now(entry);
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

    /// Whether the last snapshot of one more breaker may wait here for a store that does not
    /// answer: breakers that come and go must not fill the memory.
    pub(super) fn has_room_for_last_words(&self) -> bool {
        let queue = lock(&self.queue);
        queue.entries.values().filter(|entry| entry.is_detached()).count() < MOST_LAST_WORDS
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
