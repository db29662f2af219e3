//! The far store and its thread: the only one that calls it, so that a far store that hangs keeps
//! no other waiting.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, Weak, mpsc},
    thread,
    time::{Duration, Instant, SystemTime},
};

use super::{copy, health::FarHealth, pending::Pending};
use crate::{
    clock::wall,
    health::StoreHealth,
    metrics::StoreMetrics,
    process::{EachProcess, Process},
    store::{
        drop_budget::{DropWait, LONGEST_DROP},
        error::StoreError,
        release::may_block,
        state_store::StateStore,
    },
    sync::{caught, std_lock as lock},
};

/// How long a read waits for the far store.
const READ_WAIT: Duration = Duration::from_millis(500);
/// How long the last handle waits at most for what is not written yet. Drops share their time.
const DROP_WAIT: Duration = Duration::from_millis(500);
/// How long the far store is not called before it is asked whether what was saved is still there.
const VERIFY: Duration = Duration::from_secs(1);
/// How long a near store that cannot be read is left alone before it is copied again.
const COPY_PAUSE: Duration = Duration::from_secs(5);

type Read = Box<dyn FnOnce(&dyn StateStore) -> Result<(), StoreError> + Send>;

const FORKED: &str = "this process was forked after the far store was first used, and has no \
     thread that writes to it: build circuit breakers after daemonizing";

/// The far stores of this process.
static ALL: EachProcess<Vec<Weak<FarInner>>> =
    EachProcess::new([const { Mutex::new(Vec::new()) }; 4]);

/// The label of the far store in metrics, which differs from that of the near one.
fn label(near: &dyn StateStore, far: &dyn StateStore) -> String {
    let label = far.label();
    if label == near.label() { format!("{label}_far") } else { label.to_owned() }
}

/// A handle; its drop ends the thread.
pub(super) struct Far(Arc<FarInner>);

struct FarInner {
    /// Is released when the last handle is dropped, however long a call of the far store takes.
    near: Weak<dyn StateStore>,
    store: Arc<dyn StateStore>,
    metrics: StoreMetrics,
    content: Mutex<Content>,
    wake: Condvar,
    /// The thread has ended, or written everything.
    idle: Condvar,
    /// The process in which the thread first ran.
    process: OnceLock<Process>,
    /// When it was noticed that this is another one.
    forked_since: OnceLock<SystemTime>,
}

#[derive(Default)]
struct Content {
    pending: Pending,
    reads: VecDeque<Read>,
    health: FarHealth,
    /// When the far store gets what the near store holds, because it may have lost what it held.
    copy_due: Option<Instant>,
    is_writing: bool,
    is_running: bool,
    is_closed: bool,
}

impl Content {
    /// Keeps what waits within bounds. If something was dropped, the far store gets everything that
    /// the near one still holds.
    fn shed(&mut self) {
        if self.pending.shed() {
            self.copy_due = Some(Instant::now());
        }
    }
}

impl Far {
    pub(super) fn new(near: &Arc<dyn StateStore>, store: Arc<dyn StateStore>) -> Self {
        let label = label(&**near, &*store);
        let metrics = StoreMetrics::new(&label);
        let content = Content { health: FarHealth::new(&label), ..Content::default() };
        let shared = Arc::new(FarInner {
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
            all.push(Arc::downgrade(&shared));
        }
        Self(shared)
    }

    /// Has something written.
    pub(super) fn write(&self, add: impl FnOnce(&mut Pending)) {
        if self.is_forked() {
            return;
        }
        let mut content = self.content();
        add(&mut content.pending);
        content.shed();
        self.0.wake.notify_one();
        drop(content);
        self.notice_hang();
    }

    /// Reads something. `None`: the far store fails, or does not answer soon.
    pub(super) fn read<T: Send + 'static>(
        &self,
        read: impl Fn(&dyn StateStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Option<T> {
        if self.is_forked() {
            return None;
        }
        let (reply, answer) = mpsc::sync_channel(1);
        self.notice_hang();
        let mut content = self.content();
        if !content.is_running || content.health.is_degraded() {
            return None;
        }
        content.reads.push_back(Box::new(move |store| {
            let value = read(store)?;
            // Fails if the reader has stopped waiting.
            let _ = reply.send(value);
            Ok(())
        }));
        self.0.wake.notify_one();
        drop(content);
        answer.recv_timeout(READ_WAIT).ok()
    }

    pub(super) fn expires_by_itself(&self) -> bool {
        self.0.store.expires_by_itself()
    }

    /// Whether something waits to be written under a key.
    pub(super) fn awaits(&self, key: &str) -> bool {
        !self.is_forked() && lock(&self.0.content).pending.holds(key)
    }

    /// Starts the thread if it could not be started when there was something to do, and notices a
    /// call that hangs. The near store's writer calls this about once a second.
    pub(super) fn check_thread(&self) {
        if self.is_forked() {
            return;
        }
        let content = lock(&self.0.content);
        let is_needed = !content.is_running && !content.pending.is_empty();
        drop(content);
        if is_needed {
            drop(self.content());
        }
        self.notice_hang();
    }

    /// Notices a call that does not return, which the thread that made it cannot report, and a
    /// thread that could not be started. The gauges then say that the store is degraded.
    fn notice_hang(&self) {
        let mut content = lock(&self.0.content);
        content.health.detect_hang(Instant::now());
        let has_degraded = content.health.take_degraded();
        drop(content);
        if has_degraded {
            self.0.record_gauges();
        }
    }

    /// Whether this process was forked from the one that has the thread. Its locks may be held for
    /// ever then.
    fn is_forked(&self) -> bool {
        self.0.process.get().is_some_and(|process| *process != Process::current())
    }

    pub(super) fn health(&self) -> StoreHealth {
        if self.is_forked() {
            let since = *self.0.forked_since.get_or_init(wall);
            return StoreHealth::Degraded { since, reason: FORKED.to_owned(), pending: 0 };
        }
        self.check_thread();
        let content = lock(&self.0.content);
        content.health.value(content.pending.len())
    }

    /// Locks the content, and starts the thread if there is none.
    fn content(&self) -> MutexGuard<'_, Content> {
        let mut content = lock(&self.0.content);
        if !content.is_running {
            let shared = Arc::clone(&self.0);
            match spawn(move || shared.run()) {
                Ok(()) => {
                    content.is_running = true;
                    // Set once: a forked process starts none.
                    let _ = self.0.process.set(Process::current());
                }
                Err(error) => {
                    let reason = format!("its thread cannot be started: {error}");
                    content.health.failed(&reason, Instant::now());
                }
            }
        }
        content
    }
}

fn spawn(run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    #[cfg(test)]
    if seam::REFUSES.get() {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    thread::Builder::new().name("breaker-far-store".to_owned()).spawn(run).map(drop)
}

/// What tests pretend on their own thread.
#[cfg(test)]
mod seam {
    use std::cell::Cell;

    thread_local! {
        /// No thread can be started.
        pub(super) static REFUSES: Cell<bool> = const { Cell::new(false) };
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        if self.is_forked() {
            return;
        }
        // A thread that only drops stores takes no time from other drops.
        let wait = (!may_block()).then(|| DropWait::begin(LONGEST_DROP));
        let longest = wait.as_ref().map_or(DROP_WAIT, |wait| wait.longest().min(DROP_WAIT));
        let mut content = lock(&self.0.content);
        content.is_closed = true;
        self.0.wake.notify_all();
        let busy = |content: &mut Content| {
            let has_work = content.is_writing || !content.pending.is_empty();
            content.is_running && has_work && !content.health.is_degraded()
        };
        let _ = self.0.idle.wait_timeout_while(content, longest, busy);
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
    fn run(&self) {
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
            content = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
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

    fn record_gauges(&self) {
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

#[cfg(test)]
mod tests;
