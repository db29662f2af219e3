//! The thread of the far store: the only one that calls it, so that a far store that hangs keeps no
//! other waiting.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak},
    time::{Duration, Instant, SystemTime},
};

use super::{copy, health::FarHealth, pending::Pending};
use crate::{
    metrics::StoreMetrics,
    process::{EachProcess, Process},
    store::{error::StoreError, state_store::StateStore},
    sync::{caught, std_lock as lock},
};

/// How long the far store is not called before it is asked whether what was saved is still there.
const VERIFY: Duration = Duration::from_secs(1);
/// How long a near store that cannot be read is left alone before it is copied again.
const COPY_PAUSE: Duration = Duration::from_secs(5);

/// A read, with the reply to its caller.
type Read = Box<dyn FnOnce(&dyn StateStore) -> Result<(), StoreError> + Send>;

/// The far stores of this process.
static ALL: EachProcess<Vec<Weak<FarInner>>> =
    EachProcess::new([const { Mutex::new(Vec::new()) }; 4]);

/// The label of the far store in metrics, which differs from that of the near one.
fn label(near: &dyn StateStore, far: &dyn StateStore) -> String {
    let label = far.label();
    if label == near.label() { format!("{label}_far") } else { label.to_owned() }
}

/// The far store, and what its handle and its thread share.
pub(super) struct FarInner {
    /// Is released when the last handle is dropped, however long a call of the far store takes.
    near: Weak<dyn StateStore>,
    pub(super) store: Arc<dyn StateStore>,
    metrics: StoreMetrics,
    pub(super) content: Mutex<FarContent>,
    pub(super) wake: Condvar,
    /// The thread has ended, or written everything.
    pub(super) idle: Condvar,
    /// The process in which the thread first ran.
    pub(super) process: OnceLock<Process>,
    /// When it was noticed that this is another one.
    pub(super) forked_since: OnceLock<SystemTime>,
}

/// What the thread is to do, and what is known of the store.
#[derive(Default)]
pub(super) struct FarContent {
    pub(super) pending: Pending,
    pub(super) reads: VecDeque<Read>,
    pub(super) health: FarHealth,
    /// When the far store gets what the near store holds, because it may have lost what it held.
    copy_due: Option<Instant>,
    pub(super) is_writing: bool,
    pub(super) is_running: bool,
    pub(super) is_closed: bool,
}

impl FarContent {
    /// Keeps what waits within bounds. If something was dropped, the far store gets everything that
    /// the near one still holds.
    pub(super) fn shed(&mut self) {
        if self.pending.shed() {
            self.copy_due = Some(Instant::now());
        }
    }
}

/// What the thread does next.
enum Work {
    Read(Read),
    Write(Box<Pending>),
    Copy,
    Verify,
    End,
}

impl FarInner {
    pub(super) fn new(near: &Arc<dyn StateStore>, store: Arc<dyn StateStore>) -> Arc<Self> {
        let label = label(&**near, &*store);
        let metrics = StoreMetrics::new(&label);
        let content = FarContent { health: FarHealth::new(&label), ..FarContent::default() };
        let inner = Arc::new(Self {
            near: Arc::downgrade(near),
            store,
            metrics,
            content: Mutex::new(content),
            wake: Condvar::new(),
            idle: Condvar::new(),
            process: OnceLock::new(),
            forked_since: OnceLock::new(),
        });
        if let Some(mut all) = ALL.claim() {
            all.retain(|far| far.strong_count() > 0);
            all.push(Arc::downgrade(&inner));
        }
        inner
    }

    pub(super) fn run(&self) {
        loop {
            let work = self.next();
            let done = match work {
                Work::End => break,
                Work::Read(read) => self.call(read),
                Work::Write(pending) => self.write(*pending),
                Work::Copy => self.copy(),
                Work::Verify => self.call(StateStore::verify),
            };
            self.conclude(done);
        }
        let mut content = lock(&self.content);
        content.is_running = false;
        drop(content);
        self.idle.notify_all();
        // Without this one: an alert on a store that is gone ends.
        self.metrics.record_gauges(|| self.gauges());
    }

    fn next(&self) -> Work {
        let mut content = lock(&self.content);
        let verify_at = Instant::now() + VERIFY;
        loop {
            let now = Instant::now();
            let retry_at = content.health.retry_at();
            let may_try = retry_at.is_none_or(|at| at <= now);
            if may_try && !content.pending.is_empty() {
                content.is_writing = true;
                return Work::Write(Box::new(content.pending.take()));
            }
            // After what was written before it.
            if let Some(read) = content.reads.pop_front() {
                return Work::Read(read);
            }
            if content.is_closed {
                // What is left is in the near store.
                return Work::End;
            }
            if may_try && content.copy_due.is_some_and(|due| due <= now) {
                content.copy_due = None;
                return Work::Copy;
            }
            let due = retry_at.unwrap_or(verify_at);
            if due <= now {
                return Work::Verify;
            }
            let waited = self.wake.wait_timeout(content, due - now);
            content = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn write(&self, mut pending: Pending) -> Result<(), StoreError> {
        let mut written = self.metrics.record_write(|| self.call(|store| pending.write(store)));
        if written.as_ref().is_err_and(|error| !error.is_outage()) {
            written = self.call(|store| pending.write_each(store));
        }
        let mut content = lock(&self.content);
        content.pending.put_back(pending);
        content.shed();
        content.is_writing = false;
        written
    }

    fn copy(&self) -> Result<(), StoreError> {
        let copied = self.call(|store| copy::copy(&self.near, store));
        let pause = match copied {
            Ok(true) => return Ok(()),
            // No trouble of the far store.
            Ok(false) => COPY_PAUSE,
            // The health of the far store has a pause of its own.
            Err(_) => Duration::ZERO,
        };
        lock(&self.content).copy_due = Some(Instant::now() + pause);
        copied.map(drop)
    }

    /// A panic of the store is an error.
    fn call<T>(
        &self,
        job: impl FnOnce(&dyn StateStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        lock(&self.content).health.begin_call(Instant::now());
        let called = caught(|| job(&*self.store));
        lock(&self.content).health.end_call();
        called.unwrap_or_else(|panic| Err(StoreError::panicked(&panic)))
    }

    fn conclude(&self, done: Result<(), StoreError>) {
        let mut content = lock(&self.content);
        match done {
            Ok(()) => {
                if content.health.worked() {
                    content.copy_due = Some(Instant::now());
                }
            }
            Err(error) => {
                content.health.failed(&error.to_string(), Instant::now());
                // Reads do not wait for a store that fails.
                content.reads.clear();
            }
        }
        if content.pending.is_empty() || content.health.is_degraded() {
            self.idle.notify_all();
        }
        content.health.take_degraded();
        drop(content);
        self.record_gauges();
    }

    pub(super) fn record_gauges(&self) {
        self.metrics.record_gauges(|| self.gauges());
    }

    /// Whether all far stores with this label work, and how many keys wait for them.
    fn gauges(&self) -> (bool, usize) {
        let all = ALL.lock();
        let all = all.map(|all| all.iter().filter_map(Weak::upgrade).collect::<Vec<_>>());
        let all = all.unwrap_or_default();
        let same = all.iter().filter(|far| far.metrics == self.metrics);
        same.fold((true, 0), |(all_work, pending), far| {
            let content = lock(&far.content);
            if content.is_closed && !content.is_running {
                return (all_work, pending);
            }
            (all_work && !content.health.is_degraded(), pending + content.pending.len())
        })
    }
}
