//! Processes that are forked.

use std::{
    sync::{
        Mutex, MutexGuard, TryLockError,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use crate::sync::std_lock;

/// How often a forked process tries to take a lock that its own threads hold for far less than
/// these pauses together.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);

/// A process, to tell it from one that is forked from it. That has the memory of this one, and none
/// of its threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    pub(crate) fn current() -> Self {
        #[cfg(test)]
        if let Some(id) = seam::PROCESS.get() {
            return Self(id);
        }
        Self(std::process::id())
    }

    pub(crate) const fn id(self) -> u32 {
        self.0
    }
}

/// The process that has last used what a forked one inherits.
#[derive(Debug)]
pub(crate) struct LastProcess(AtomicU32);

impl LastProcess {
    pub(crate) const fn none() -> Self {
        Self(AtomicU32::new(0))
    }

    pub(crate) fn set(&self, process: u32) {
        self.0.store(process, SeqCst);
    }

    /// The process, if it is another one than this.
    pub(crate) fn other_than(&self, this: impl FnOnce() -> u32) -> Option<Process> {
        let last = self.0.load(SeqCst);
        (last != 0 && last != this()).then_some(Process(last))
    }
}

/// Takes a lock. Where this process `is_forked` from one whose threads use it, too, one of these
/// may have had it at that moment: then it is never released here, and there is none.
pub(crate) fn lock<T>(mutex: &Mutex<T>, is_forked: impl Fn() -> bool) -> Option<MutexGuard<'_, T>> {
    for _ in 0..ATTEMPTS {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            // Or another thread of this process has it.
            Err(TryLockError::WouldBlock) if is_forked() => thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => return Some(std_lock(mutex)),
        }
    }
    None
}

/// What tests pretend on their own thread.
#[cfg(test)]
pub(crate) mod seam {
    use std::cell::Cell;

    thread_local! {
        /// This is the process with this number.
        pub(crate) static PROCESS: Cell<Option<u32>> = const { Cell::new(None) };
    }
}
