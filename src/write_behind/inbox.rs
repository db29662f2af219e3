//! What the breakers on one store and the thread that writes to it share.

use std::{
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak, mpsc},
    thread::{self, ThreadId},
    time::{Duration, Instant, SystemTime},
};

use super::{
    client::Monitor,
    content::{Batch, InboxContent, Lifecycle, NewEntry},
    entries::EntryId,
    entry::{Entry, Urgency},
    listener_thread::ListenerThread,
    preload::Preload,
    request::{HistoryRequest, HistorySlot, HistorySlots, Wanted, WriterRequest},
    source::SaveSettings,
    sweep::{MarkEntries, VisitEntries},
    threads::Starter,
};
use crate::{history::HistoryQuery, process::Process, sync::std_lock};

/// Entries that are visited under one lock. A breaker that changes meanwhile waits for these, and
/// not for all.
const PART: usize = 1024;

thread_local! {
    /// At hand: each drop asks for it.
    static THIS_THREAD: ThreadId = thread::current().id();
}

pub(super) const STOPPED: &str = "the store's writer thread has stopped";
const NOT_STARTED: &str = "the store's writer thread cannot be started; the start is retried";
pub(super) const FORKED: &str = "this process was forked after the first circuit breaker on the \
     store was built, and has no thread that saves: build circuit breakers after daemonizing";

pub(super) struct Inbox {
    pub(super) store_id: usize,
    /// For threads that outlive the borrow.
    pub(super) own: Weak<Self>,
    pub(super) monitor: Arc<Monitor>,
    pub(super) preload: Preload,
    history_slots: HistorySlots,
    /// The process in which the writer runs.
    pub(super) process: Process,
    /// When it was noticed that this is another one.
    pub(super) forked_since: OnceLock<SystemTime>,
    /// Starts the writer.
    pub(super) starter: Starter,
    /// Calls listeners in place of the writer.
    pub(super) listener_thread: ListenerThread,
    thread: OnceLock<ThreadId>,
    content: Mutex<InboxContent>,
    /// Wakes the writer's thread.
    pub(super) wake: Condvar,
    /// Wakes threads that drop breakers: an entry is gone, the writer has ended, or the store does
    /// not answer.
    pub(super) departed: Condvar,
}

/// What the writer does next.
pub(super) enum Work {
    Batch(Batch),
    /// Reads a page of the history under this key.
    History(String, HistoryQuery),
    Maintenance,
}

impl Inbox {
    /// An inbox with one entry.
    pub(super) fn new(
        store_id: usize,
        process: Process,
        monitor: Monitor,
        settings: SaveSettings,
        make_entry: impl FnOnce(EntryId) -> Entry,
    ) -> (Arc<Self>, NewEntry) {
        let mut content = InboxContent::default();
        let new = content.join(settings, make_entry);
        let inbox = Arc::new_cyclic(|own| Self {
            store_id,
            own: Weak::clone(own),
            monitor: Arc::new(monitor),
            preload: Preload::default(),
            history_slots: HistorySlots::default(),
            process,
            forked_since: OnceLock::new(),
            starter: Starter::new("breaker-store"),
            listener_thread: ListenerThread::default(),
            thread: OnceLock::new(),
            content: Mutex::new(content),
            wake: Condvar::new(),
            departed: Condvar::new(),
        });
        (inbox, new)
    }

    /// Only the locks after it may be taken while this one is held: see [Locks](super#locks).
    pub(super) fn content(&self) -> MutexGuard<'_, InboxContent> {
        std_lock(&self.content)
    }

    /// The content, unless another thread has it.
    pub(super) fn try_content(&self) -> Option<MutexGuard<'_, InboxContent>> {
        match self.content.try_lock() {
            Ok(content) => Some(content),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Adds an entry. `None` if the writer is about to end.
    pub(super) fn join(
        &self,
        settings: SaveSettings,
        make_entry: &dyn Fn(EntryId) -> Entry,
    ) -> Option<NewEntry> {
        let mut content = self.content();
        if content.lifecycle != Lifecycle::Running {
            return None;
        }
        if content.awaits_end > 0 {
            // The end is not coming.
            self.departed.notify_all();
        }
        // The tasks are woken without the lock.
        let await_end = mem::take(&mut content.await_end);
        let new = content.join(settings, make_entry);
        drop(content);
        drop(await_end);
        Some(new)
    }

    /// Marks a change. May be called with the breaker's lock held.
    pub(super) fn mark(&self, entry: &Entry, urgency: Urgency) {
        // Without a writer, nothing clears the marks.
        if self.starter.waits() {
            self.retry_start();
        }
        // In a forked process, the lock may be held forever.
        if !entry.mark(urgency) || self.is_forked() {
            return;
        }
        let is_first = self.content().schedule.mark(entry.id, urgency, Instant::now());
        self.wake_if(is_first);
    }

    /// Tries again to start the writer, if it could not be started, unless it is the parent's.
    pub(super) fn retry_start(&self) {
        if self.starter.waits() && !self.is_forked() {
            self.starter.retry();
        }
    }

    /// Passes a request to the writer, or refuses it at once if there is none, or the store does
    /// not answer.
    pub(super) fn request(&self, request: WriterRequest) {
        if self.is_forked() {
            return request.refuse(FORKED);
        }
        self.starter.retry();
        self.check_call(self.monitor.patience);
        let mut content = self.content();
        if request.is_for_owner() && content.schedule.is_suspended(request.entry) {
            drop(content);
            return request.refuse_superseded();
        }
        let no_writer = self.why_no_writer(content.lifecycle);
        let stalled = self.monitor.health().stall_reason();
        if no_writer.is_none() && stalled.is_none() {
            let is_first = content.requests.add(request);
            drop(content);
            self.wake_if(is_first);
            return;
        }
        content.postpone(&request);
        drop(content);
        match no_writer {
            Some(reason) => request.refuse(reason),
            None => request.refuse_for_now(&stalled.unwrap_or_default()),
        }
    }

    /// A slot for a request for a history. `None`: too many wait.
    pub(super) fn history_slot(&self) -> Option<HistorySlot> {
        self.history_slots.take().or_else(|| {
            if self.is_forked() {
                return None;
            }
            self.content().requests.forget_abandoned();
            self.history_slots.take()
        })
    }

    /// Why there is no thread that answers.
    fn why_no_writer(&self, lifecycle: Lifecycle) -> Option<&'static str> {
        if lifecycle != Lifecycle::Running {
            return Some(STOPPED);
        }
        self.starter.waits().then_some(NOT_STARTED)
    }

    /// Whether this process was forked from the one in which the writer runs.
    pub(super) fn is_forked(&self) -> bool {
        !self.process.is_current()
    }

    /// Reports the call under way if it takes this long.
    pub(super) fn check_call(&self, patience: Duration) {
        let age = self.monitor.health().call_age(Instant::now());
        if let Some(age) = age.filter(|age| *age >= patience) {
            self.stall(age);
        }
    }

    /// Requests the snapshot of a new entry. `None` if no answer is to be expected: then it is read
    /// with the next retry.
    pub(super) fn request_load(&self, entry: EntryId) -> Option<mpsc::Receiver<()>> {
        let mut content = self.content_to_load(entry)?;
        // Not earlier: many breakers may be built while the store does not answer.
        let (reply, result) = mpsc::sync_channel(1);
        let is_first = content.requests.add(WriterRequest { entry, wanted: Wanted::Load(reply) });
        drop(content);
        self.wake_if(is_first);
        Some(result)
    }

    /// Has the snapshot of a new entry read. No caller waits for it.
    pub(super) fn load_later(&self, entry: EntryId) {
        let Some(mut content) = self.content_to_load(entry) else { return };
        let is_first = content.requests.read_unawaited(entry);
        drop(content);
        self.wake_if(is_first);
    }

    /// Wakes the writer if this thread has added the first of what it is to do next. Otherwise it
    /// is awake, or another thread is about to wake it.
    pub(super) fn wake_if(&self, is_first: bool) {
        if is_first {
            self.wake.notify_one();
        }
    }

    /// The content, if the store is expected to answer. If not, the snapshot of this entry is read
    /// with the next retry.
    fn content_to_load(&self, entry: EntryId) -> Option<MutexGuard<'_, InboxContent>> {
        self.starter.retry();
        let has_writer = !self.starter.waits() && !self.is_forked();
        let mut content = self.content();
        let now = Instant::now();
        let is_running = has_writer && content.lifecycle == Lifecycle::Running;
        if !is_running || self.monitor.health().predicts_failed_read(now) {
            content.schedule.read_later(entry, now);
            return None;
        }
        Some(content)
    }

    /// Takes new settings for an entry.
    pub(super) fn set_settings(&self, entry: &Entry, settings: SaveSettings) {
        if self.is_forked() {
            return;
        }
        let is_first = self.content().schedule.set_settings(entry.id, settings, Instant::now());
        self.wake_if(is_first);
    }

    /// Waits for something to do. `None`: nothing is left to do, and no entry.
    pub(super) fn next(&self, maintenance_due: Option<Instant>) -> Option<Work> {
        let mut content = self.content();
        loop {
            if content.schedule.is_empty() && content.requests.is_empty() {
                content.lifecycle = Lifecycle::Ending;
                return None;
            }
            let now = Instant::now();
            let health = self.monitor.health();
            let (retry_at, holds_back) = (health.retry_at(), health.holds_back());
            let is_down = health.is_down();
            drop(health);
            let batch_due = content.batch_due(retry_at, holds_back, now);
            if batch_due.is_some_and(|due| due <= now) {
                return Some(Work::Batch(content.take_batch(retry_at, holds_back, now)));
            }
            if let Some((key, query)) = content.requests.begin_reading() {
                return Some(Work::History(key, query));
            }
            // A store that is down has enough to do.
            let maintenance_due = maintenance_due.filter(|_| !is_down);
            if maintenance_due.is_some_and(|due| due <= now) {
                return Some(Work::Maintenance);
            }
            let due = batch_due.into_iter().chain(maintenance_due).min();
            content = self.wait(content, due.map(|due| due - now));
        }
    }

    fn wait<'a>(
        &'a self,
        content: MutexGuard<'a, InboxContent>,
        time: Option<Duration>,
    ) -> MutexGuard<'a, InboxContent> {
        match time {
            Some(time) => {
                self.wake.wait_timeout(content, time).unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.wake.wait(content).unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Begins with the next history request, if there is one.
    pub(super) fn next_history(&self) -> Option<(String, HistoryQuery)> {
        self.content().requests.begin_reading()
    }

    /// After a batch that says nothing about the store: an entry whose snapshot is to be read to
    /// see whether the store works. `None` if it is known to work, or if a retry is going to tell.
    pub(super) fn entry_to_probe(&self, was_retry: bool) -> Option<Arc<Entry>> {
        let content = self.content();
        let is_known = self.monitor.health().is_healthy();
        let retry_tells = !was_retry && content.schedule.has_failed();
        if is_known || retry_tells { None } else { content.schedule.any() }
    }

    /// Takes the history request that is being read; `None` if it was refused meanwhile.
    pub(super) fn take_reading(&self) -> Option<HistoryRequest> {
        self.content().requests.reading.take()
    }

    /// Calls `visit` with the entries in parts; each part is copied under the lock.
    pub(super) fn for_each_entry(&self, mut visit: impl FnMut(&Arc<Entry>)) {
        for first in (0..).step_by(PART) {
            let content = self.content();
            let Some(part) = content.schedule.part(first, PART) else { return };
            let part: Vec<_> = part.map(Arc::clone).collect();
            drop(content);
            part.iter().for_each(&mut visit);
        }
    }

    /// Queues every saved entry to be saved again.
    pub(super) fn save_all(&self) {
        let now = Instant::now();
        let mut firsts = (0..).step_by(PART);
        while firsts
            .next()
            .is_some_and(|first| self.content().schedule.save_again(first, PART, now))
        {}
    }

    /// To be called first on the writer's thread.
    pub(super) fn set_thread(&self) {
        // Set once.
        let _ = self.thread.set(THIS_THREAD.with(|id| *id));
    }

    /// Whether this is the writer's thread, which must not wait for itself.
    pub(super) fn is_this_thread(&self) -> bool {
        THIS_THREAD.with(|id| self.thread.get() == Some(id))
    }
}

impl MarkEntries for Inbox {
    fn mark_counts(&self, entry: &Entry) {
        self.mark(entry, Urgency::Counts);
    }
}

impl VisitEntries for Inbox {
    fn visit_entries(&self, visit: &mut dyn FnMut(&Arc<Entry>)) {
        self.for_each_entry(visit);
    }
}
