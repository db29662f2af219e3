use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use super::{
    FlushError, StoreHealth,
    entry::{Entry, Mark},
    queue::{Next, Queue, Round},
};
use crate::store::{StateStore, StoreError};

/// The thread that writes to one store, as seen from outside.
pub(super) struct Writer {
    instance: usize,
    queue: Mutex<Queue>,
    /// Something is to be done.
    work: Condvar,
    /// A round has ended, or the thread has.
    round: Condvar,
}

/// The writers that run, by their store.
static WRITERS: Mutex<Vec<Weak<Writer>>> = Mutex::new(Vec::new());

impl Writer {
    /// Attaches a breaker to the writer of this store, which is started if need be.
    pub(super) fn attach(store: Arc<dyn StateStore>, entry: &Arc<Entry>) -> Arc<Self> {
        let mut writers = WRITERS.lock().unwrap_or_else(PoisonError::into_inner);
        writers.retain(|writer| writer.strong_count() > 0);
        let instance = store.instance();
        for writer in writers.iter().filter_map(Weak::upgrade) {
            let mut queue = writer.queue();
            if writer.instance == instance && !queue.closing {
                queue.attach(entry);
                drop(queue);
                writer.work.notify_one();
                return writer;
            }
        }
        let writer = Arc::new(Self {
            instance,
            queue: Mutex::new(Queue::new()),
            work: Condvar::new(),
            round: Condvar::new(),
        });
        writer.queue().attach(entry);
        writers.push(Arc::downgrade(&writer));
        drop(writers);
        writer.start(store);
        writer
    }

    fn start(self: &Arc<Self>, store: Arc<dyn StateStore>) {
        let writer = Arc::clone(self);
        let thread = std::thread::Builder::new().name("tower-breaker-store".to_owned());
        let started = thread.spawn(move || {
            while let Some(round) = writer.next() {
                writer.work(&*store, round);
            }
            // The store, and with it sled's lock, is given up before anybody is told.
            drop(store);
            writer.queue().stopped = true;
            writer.round.notify_all();
        });
        if let Err(error) = started {
            let reason = format!("its thread could not be started: {error}");
            let mut queue = self.queue();
            (queue.closing, queue.stopped) = (true, true);
            queue.degrade(reason);
            drop(queue);
            self.report();
        }
    }

    /// Leaves word that a breaker has changed. Called under the breaker's lock.
    #[inline]
    pub(super) fn mark(&self, entry: &Arc<Entry>, mark: Mark, flush_interval: Duration) {
        if entry.has_mark(mark) || !entry.raise_mark(mark) {
            return;
        }
        self.queue().push(entry, mark, flush_interval);
        self.work.notify_one();
    }

    /// Waits for a breaker's state to be durable.
    pub(super) fn flush(
        &self,
        entry: &Arc<Entry>,
    ) -> tokio::sync::oneshot::Receiver<Result<(), FlushError>> {
        let (flusher, answer) = tokio::sync::oneshot::channel();
        let mut queue = self.queue();
        if !queue.stopped {
            queue.flush(entry, flusher);
        }
        drop(queue);
        self.work.notify_one();
        answer
    }

    /// Waits until a breaker's snapshot was read, but no longer than that, and not past the
    /// first failure.
    pub(super) fn wait_until_read(&self, entry: &Entry, patience: Duration) {
        let unread = |queue: &mut Queue| !entry.is_read() && !queue.stopped && queue.is_healthy();
        let (mut queue, still_unread) = self.wait(patience, unread);
        if !still_unread {
            return;
        }
        let first = queue.degrade(format!("it has not answered for {patience:?}"));
        drop(queue);
        if first {
            self.report();
        }
    }

    /// The breaker goes. Waits, but not for long, until its last state is durable and, if it was
    /// the store's last one, until the store is given up.
    pub(super) fn detach(&self, entry: &Arc<Entry>, patience: Duration) {
        let last_words = entry.close();
        let mut queue = self.queue();
        queue.detach(entry);
        if last_words {
            queue.push(entry, Mark::Transition, Duration::ZERO);
        }
        // A store that has failed, or hangs, is not waited for: it would hold up every end.
        let healthy = matches!(queue.health(patience), StoreHealth::Healthy);
        let round = queue.current_round();
        drop(queue);
        self.work.notify_one();
        if healthy {
            let (queue, _) = self.wait(patience, |queue| {
                let over = if queue.entries.is_empty() {
                    queue.stopped
                } else {
                    queue.rounds >= round && entry.is_gone()
                };
                !over && queue.is_healthy()
            });
            drop(queue);
        }
    }

    pub(super) fn health(&self, patience: Duration) -> StoreHealth {
        self.queue().health(patience)
    }

    fn wait(
        &self,
        patience: Duration,
        unfinished: impl FnMut(&mut Queue) -> bool,
    ) -> (MutexGuard<'_, Queue>, bool) {
        let queue = self.queue();
        let waited = self.round.wait_timeout_while(queue, patience, unfinished);
        let (queue, result) = waited.unwrap_or_else(PoisonError::into_inner);
        (queue, result.timed_out())
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next round's work; `None` when there is none and nobody is left to bring any.
    fn next(&self) -> Option<Round> {
        let mut queue = self.queue();
        loop {
            match queue.next(Instant::now()) {
                Next::Work(round) => return Some(round),
                Next::Stop => {
                    // From here on, a new breaker starts a thread of its own.
                    queue.closing = true;
                    return None;
                }
                Next::Wait(None) => {
                    queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
                Next::Wait(Some(time)) => {
                    let waited = self.work.wait_timeout(queue, time);
                    queue = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    fn work(&self, store: &dyn StateStore, round: Round) {
        // The store may be anybody's; a panic of it is a failure like any other.
        let done = catch_unwind(AssertUnwindSafe(|| save(store, &round.entries)));
        let done = done.unwrap_or_else(|_| Err(StoreError::other("it panicked")));
        let changed = match &done {
            Ok(()) => self.queue().succeeded(),
            Err(error) => self.queue().failed(round.entries, error.to_string()),
        };
        self.round.notify_all();
        for (entry, flusher) in round.flushers {
            let result = match &done {
                Ok(()) if entry.is_left_alone() => {
                    Err(FlushError::new("its stored state is of a newer version"))
                }
                Ok(()) => Ok(()),
                Err(error) => Err(FlushError::new(&error.to_string())),
            };
            // Nobody waits any more: as well.
            let _ = flusher.send(result);
        }
        if changed {
            self.report();
        }
    }

    /// Tells the log and the breakers. Called with no lock held.
    fn report(&self) {
        let health = &self.queue().health(Duration::MAX);
        match health {
            StoreHealth::Degraded { reason, .. } => tracing::warn!(
                target: "tower_breaker",
                reason,
                "the circuit breakers' store is degraded; they go on in memory, and their \
                 newest state is saved as soon as it can be",
            ),
            _ => {
                tracing::info!(target: "tower_breaker", "the circuit breakers' store is healthy again");
            }
        }
        let entries = self.queue().entries.clone();
        for source in entries.iter().filter_map(|entry| entry.source()) {
            source.store_health(health);
        }
    }
}

/// Reads what was not read yet, then writes what is to be written, all at once.
fn save(store: &dyn StateStore, entries: &[Arc<Entry>]) -> Result<(), StoreError> {
    for entry in entries {
        entry.read(store)?;
    }
    let marked = entries.iter().filter(|entry| entry.has_mark(Mark::Counts));
    let mut closed = Vec::new();
    let mut pending = Vec::new();
    for entry in marked {
        if let Some((bytes, is_last)) = entry.pending() {
            pending.push(bytes);
            closed.extend(is_last.then_some(entry));
        }
    }
    if !pending.is_empty() {
        store.save_all(&pending)?;
    }
    for entry in closed {
        entry.saved_last();
    }
    Ok(())
}
