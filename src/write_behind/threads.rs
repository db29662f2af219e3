//! Threads that cannot be started: a process may have reached the limit of its user or container.
//! Their work is kept, and each use tries to start them again.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use crate::sync::std_lock;

/// The shortest time between two attempts.
const RETRY: Duration = Duration::from_millis(100);

type ThreadBody = Box<dyn FnOnce() + Send>;

/// Starts one thread, as soon as that is possible.
pub(super) struct Starter {
    name: &'static str,
    /// The thread's work, until it has started.
    work: Arc<Mutex<Option<ThreadBody>>>,
    waits: AtomicBool,
    retry_at: Mutex<Option<Instant>>,
    /// What the test pretends on whose thread this was made.
    #[cfg(test)]
    refuses: Arc<AtomicBool>,
}

impl Starter {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            work: Arc::default(),
            waits: AtomicBool::new(false),
            retry_at: Mutex::default(),
            #[cfg(test)]
            refuses: seam::REFUSES.with(Arc::clone),
        }
    }

    /// Starts the thread. If that fails, the work waits.
    pub(super) fn start(&self, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        *std_lock(&self.work) = Some(Box::new(work));
        self.attempt()
    }

    /// Whether the thread could not be started so far. One load.
    pub(super) fn waits(&self) -> bool {
        self.waits.load(SeqCst)
    }

    /// Tries again, if the thread could not be started and the last attempt was not just now.
    pub(super) fn retry(&self) {
        if !self.waits() {
            return;
        }
        let now = Instant::now();
        let mut retry_at = std_lock(&self.retry_at);
        if retry_at.is_none_or(|at| at <= now) {
            *retry_at = Some(now + RETRY);
            drop(retry_at);
            // The next need tries again.
            let _ = self.attempt();
        }
    }

    /// Gives the work up, if the thread could not be started. It may own what must not be dropped
    /// under a lock.
    pub(super) fn give_up(&self) -> Option<impl Sized> {
        self.waits.store(false, SeqCst);
        std_lock(&self.work).take()
    }

    fn attempt(&self) -> io::Result<()> {
        let work = Arc::clone(&self.work);
        let run = move || {
            // Another attempt may have been faster.
            let work = std_lock(&work).take();
            if let Some(work) = work {
                work();
            }
        };
        #[cfg(test)]
        let started = seam::refuse(&self.refuses).and_then(|()| spawn(self.name, run));
        #[cfg(not(test))]
        let started = spawn(self.name, run);
        self.waits.store(started.is_err(), SeqCst);
        started
    }
}

/// Starts a thread.
pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    #[cfg(test)]
    seam::REFUSES.with(|refuses| seam::refuse(refuses))?;
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// What tests pretend on their own thread.
#[cfg(test)]
pub(super) mod seam {
    use std::{
        io,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering::SeqCst},
        },
    };

    thread_local! {
        /// No thread can be started.
        pub(in super::super) static REFUSES: Arc<AtomicBool> = Arc::default();
    }

    pub(super) fn refuse(refuses: &AtomicBool) -> io::Result<()> {
        if refuses.load(SeqCst) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }
}
