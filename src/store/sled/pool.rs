//! sled's own threads.
//!
//! sled has one pool of threads for all its databases, and starts them when the first one needs
//! them. It starts them once: if that fails, it only logs it, and whatever waits for the pool waits
//! forever. A process that is forked later has the pool, and none of its threads.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        RwLock,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use super::failure::Failure;
use crate::process::Process;

/// sled starts seven.
const THREADS: usize = 8;

/// How long to wait until the system no longer counts threads that have ended.
const END_WAIT: Duration = Duration::from_millis(300);
const END_PAUSE: Duration = Duration::from_millis(1);

/// The process that has used sled first. 0: none has.
static USED_BY: AtomicU32 = AtomicU32::new(0);

/// Whether the pool has started its threads.
static IS_STARTED: AtomicBool = AtomicBool::new(false);

/// Checks that sled can have its threads, before a database is opened.
pub(super) fn prepare() -> Result<(), Failure> {
    let own = Process::current().id();
    let user = USED_BY.load(SeqCst);
    if user != 0 && user != own {
        return Err(Failure::Forked);
    }
    if !IS_STARTED.load(SeqCst) {
        try_threads().map_err(Failure::Threads)?;
        USED_BY.store(own, SeqCst);
    }
    Ok(())
}

/// Whether the pool has threads.
pub(super) fn is_started() -> bool {
    IS_STARTED.load(SeqCst)
}

/// A database has used the pool.
pub(super) fn note_start() {
    IS_STARTED.store(true, SeqCst);
}

/// Starts as many threads as sled would, all at once, and waits for their end.
fn try_threads() -> io::Result<()> {
    let gate = RwLock::new(());
    let mut ids = Vec::new();
    let started = thread::scope(|scope| {
        let closed = gate.write();
        let start = |_| {
            let wait = || {
                drop(gate.read());
                id()
            };
            thread::Builder::new().name("breaker-try".to_owned()).spawn_scoped(scope, wait)
        };
        let mut threads = Vec::new();
        let mut started = Ok(());
        for thread in (0..THREADS).map(start) {
            match thread {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    started = Err(error);
                    break;
                }
            }
        }
        drop(closed);
        ids.extend(threads.into_iter().filter_map(|thread| thread.join().ok().flatten()));
        started
    });
    wait_for_end(&ids);
    started
}

/// Where the system lists the thread that asks, while it counts it.
fn id() -> Option<PathBuf> {
    std::fs::read_link("/proc/thread-self").ok().map(|id| Path::new("/proc").join(id))
}

/// A thread that was joined may count for a moment longer.
fn wait_for_end(ids: &[PathBuf]) {
    let start = Instant::now();
    while ids.iter().any(|id| id.exists()) && start.elapsed() < END_WAIT {
        thread::sleep(END_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        process::seam,
        store::{SaveEntry, SledStore, StateStore as _},
    };

    #[test]
    fn a_process_that_is_forked_after_the_first_use_of_sled_does_not_wait_for_it() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = SledStore::open(first.path()).unwrap();
        store.save(&SaveEntry::new("key", "value")).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                // To this thread, this is another process.
                seam::PROCESS.set(Some(1));
                let error = SledStore::open(second.path()).unwrap().load("key").unwrap_err();
                // Also with a handle that is open, whose threads are those of the other.
                let entry = SaveEntry::new("key", "of the child");
                let own = store.save(&entry).unwrap_err();
                let errors = [error, own, store.load("key").unwrap_err()];
                for said in errors.map(|error| error.to_string()) {
                    assert!(said.contains("forked") && said.contains("RedbStore"), "{said}");
                }
            });
        });
        assert_eq!(SledStore::open(second.path()).unwrap().load("key").unwrap(), None);
        assert_eq!(store.load("key").unwrap().unwrap(), b"value");
    }

    #[test]
    fn threads_that_were_tried_have_ended() {
        let count = || {
            let names = std::fs::read_dir("/proc/self/task")
                .unwrap()
                .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
            names.filter(|name| name.trim() == "breaker-try").count()
        };
        if !Path::new("/proc/self/task").exists() {
            return;
        }
        try_threads().unwrap();
        // Another test may try threads at the same time.
        let start = Instant::now();
        while count() > 0 {
            assert!(start.elapsed() < Duration::from_secs(60));
            thread::sleep(END_PAUSE);
        }
    }
}
