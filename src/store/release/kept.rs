//! Values that are dropped on threads of their own, and kept while no thread can be started.

use std::{
    io, mem, process,
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver},
    },
    thread,
};

use crate::{process::EachProcess, sync::std_lock};

/// Those of the process.
pub(super) static RELEASES: Releases = Releases::new(spawn);

fn spawn(release: Release) -> io::Result<()> {
    #[cfg(test)]
    if seam::REFUSES.get() {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    thread::Builder::new().name("breaker-release".to_owned()).spawn(release).map(drop)
}

pub(super) type Release = Box<dyn FnOnce() + Send>;

/// Drops values on threads, and keeps those for which there was none.
pub(super) struct Releases<S = fn(Release) -> io::Result<()>> {
    spawn: S,
    kept: EachProcess<Vec<Kept>>,
}

struct Kept {
    value: Box<dyn Send>,
    /// A forked process has a copy of the value, but the database belongs to this one.
    process: u32,
}

impl<S: Fn(Release) -> io::Result<()>> Releases<S> {
    const fn new(spawn: S) -> Self {
        Self { spawn, kept: EachProcess::new([const { Mutex::new(Vec::new()) }; 4]) }
    }

    /// Begins to drop a value on a thread. The receiver is disconnected when that has ended. If
    /// there is no thread, keeps the value.
    pub(super) fn begin(&self, value: Box<dyn Send>) -> io::Result<Receiver<()>> {
        // A closure for which there is no thread is dropped here: it must not own the value.
        let slot = Arc::new(Mutex::new(Some(value)));
        let (done, wait) = mpsc::sync_channel::<()>(1);
        let release = {
            let slot = Arc::clone(&slot);
            move || {
                let value = std_lock(&slot).take();
                drop(value);
                drop(done);
            }
        };
        let started = (self.spawn)(Box::new(release));
        if started.is_err()
            && let Some(value) = std_lock(&slot).take()
        {
            self.keep([Kept { value, process: process::id() }]);
        }
        started.map(|()| wait)
    }

    /// Begins to drop the kept values, until there is no thread again.
    pub(super) fn retry(&self) {
        let taken = self.kept.lock().map(|mut kept| mem::take(&mut *kept));
        let mut kept = taken.unwrap_or_default().into_iter();
        for Kept { value, process } in kept.by_ref() {
            if process != process::id() {
                mem::forget(value);
            } else if self.begin(value).is_err() {
                break;
            }
        }
        self.keep(kept);
    }

    fn keep(&self, values: impl IntoIterator<Item = Kept>) {
        match self.kept.claim() {
            Some(mut kept) => kept.extend(values),
            // The values of a process that is forked from a forked one, and so on.
            None => values.into_iter().for_each(mem::forget),
        }
    }
}

/// What tests pretend on their own thread.
#[cfg(test)]
pub(in crate::store) mod seam {
    use std::cell::Cell;

    thread_local! {
        /// No thread can be started.
        pub(in crate::store) static REFUSES: Cell<bool> = const { Cell::new(false) };
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        time::Duration,
    };

    use super::*;
    use crate::process::seam;

    /// Notes the thread on which it is dropped.
    struct Noted(&'static str, mpsc::Sender<(&'static str, thread::ThreadId)>);

    impl Drop for Noted {
        fn drop(&mut self) {
            // The test may have failed already.
            let _ = self.1.send((self.0, thread::current().id()));
        }
    }

    #[test]
    fn without_a_thread_values_are_kept_until_there_is_one() {
        let (refuses, spawned) = (AtomicBool::new(true), AtomicUsize::new(0));
        let releases = Releases::new(|release| {
            if refuses.load(SeqCst) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            spawned.fetch_add(1, SeqCst);
            spawn(release)
        });
        let (note, dropped) = mpsc::channel();
        let begin = |name| releases.begin(Box::new(Noted(name, note.clone())));
        for name in ["first", "second"] {
            assert_eq!(begin(name).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
        releases.retry();
        assert!(dropped.try_recv().is_err(), "they are kept");
        assert_eq!(releases.kept.lock().unwrap().len(), 2);

        refuses.store(false, SeqCst);
        releases.retry();
        let mut names = Vec::new();
        for _ in 0..2 {
            let (name, on) = dropped.recv_timeout(Duration::from_secs(60)).unwrap();
            assert_ne!(on, thread::current().id());
            names.push(name);
        }
        names.sort_unstable();
        assert_eq!(names, ["first", "second"]);
        assert_eq!((releases.kept.lock().unwrap().len(), spawned.load(SeqCst)), (0, 2));

        let wait = begin("third").unwrap();
        let ended = wait.recv_timeout(Duration::from_secs(60));
        assert_eq!(ended, Err(mpsc::RecvTimeoutError::Disconnected));
        assert_eq!(dropped.try_recv().unwrap().0, "third");
    }

    #[test]
    fn a_retry_that_finds_no_further_thread_keeps_the_rest() {
        let threads = AtomicUsize::new(0);
        let releases = Releases::new(|release| {
            let take = |left: usize| left.checked_sub(1);
            match threads.fetch_update(SeqCst, SeqCst, take) {
                Ok(_) => spawn(release),
                Err(_) => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        let (note, dropped) = mpsc::channel();
        for name in ["first", "second", "third"] {
            releases.begin(Box::new(Noted(name, note.clone()))).unwrap_err();
        }
        for left in [2, 1, 0] {
            threads.store(1, SeqCst);
            releases.retry();
            dropped.recv_timeout(Duration::from_secs(60)).unwrap();
            assert_eq!(releases.kept.lock().unwrap().len(), left);
        }
        drop(note);
        assert!(dropped.recv().is_err(), "each is dropped once");
    }

    #[test]
    fn a_forked_process_does_not_wait_for_values_that_were_just_being_kept() {
        let releases = Releases::new(spawn);
        let kept = releases.kept.claim();
        thread::scope(|scope| {
            let child = scope.spawn(|| {
                seam::PROCESS.set(Some(1));
                releases.retry();
            });
            child.join().unwrap();
        });
        drop(kept);
    }

    #[test]
    fn what_another_process_has_kept_is_not_released() {
        let releases = Releases::new(spawn);
        let (note, dropped) = mpsc::channel();
        let value = Box::new(Noted("of the parent", note));
        releases.keep([Kept { value, process: process::id().wrapping_add(1) }]);
        releases.retry();
        assert!(releases.kept.lock().unwrap().is_empty());
        assert!(dropped.try_recv().is_err());
    }
}
