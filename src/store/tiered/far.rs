//! The handle of a far store. Callers wait for the store's thread for half a second at most.

use std::{
    io,
    sync::{Arc, MutexGuard, mpsc},
    thread,
    time::{Duration, Instant},
};

use super::{
    far_thread::{FarContent, FarInner},
    pending::Pending,
};
use crate::{
    clock::wall,
    health::StoreHealth,
    process::Process,
    store::{
        drop_budget::{DropWait, LONGEST_DROP},
        error::StoreError,
        release::may_block,
        state_store::StateStore,
    },
    sync::std_lock as lock,
};

/// How long a read waits for the far store.
const READ_WAIT: Duration = Duration::from_millis(500);
/// How long the last handle waits at most for what is not written yet. Drops share their time.
const DROP_WAIT: Duration = Duration::from_millis(500);

const FORKED: &str = "this process was forked after the far store was first used, and has no \
     thread that writes to it: build circuit breakers after daemonizing";

/// A handle; its drop ends the thread.
pub(super) struct Far(Arc<FarInner>);

impl Far {
    pub(super) fn new(near: &Arc<dyn StateStore>, store: Arc<dyn StateStore>) -> Self {
        Self(FarInner::new(near, store))
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

    /// Whether this process was forked from the one that has the thread. Its locks may be held
    /// forever then.
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
    fn content(&self) -> MutexGuard<'_, FarContent> {
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
        let busy = |content: &mut FarContent| {
            let has_work = content.is_writing || !content.pending.is_empty();
            content.is_running && has_work && !content.health.is_degraded()
        };
        let _ = self.0.idle.wait_timeout_while(content, longest, busy);
    }
}

#[cfg(test)]
mod tests;
