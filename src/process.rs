//! Processes that are forked.

use std::{
    cell::Cell,
    sync::{
        Mutex, MutexGuard, TryLockError,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use crate::{
    clock::{SystemClock, Tick},
    sync::std_lock,
};

/// A process is not forked faster than this. To ask for the process is a call to the system, which
/// costs more than all else when a hundred thousand circuits are restored or dropped.
pub(crate) const FASTEST_FORK: Duration = Duration::from_micros(20);

/// How often a forked process tries to take a lock that its own threads hold for far less than
/// these pauses together.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);

thread_local! {
    /// The process in which this thread has asked last, and when. The thread that forks is the one
    /// that goes on in the new process.
    static SEEN: Cell<(Tick, u32)> = const { Cell::new((Tick::from_nanos(0), 0)) };
}

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

    /// Whether this is that process, for what asks often.
    pub(crate) fn is_current(self) -> bool {
        #[cfg(test)]
        if seam::PROCESS.get().is_some() {
            return self == Self::current();
        }
        let (now, (asked_at, seen)) = (SystemClock::tick(), SEEN.get());
        if seen != 0 && now.since(asked_at) < FASTEST_FORK {
            return self.0 == seen;
        }
        let current = Self::current();
        SEEN.set((now, current.0));
        self == current
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_others_each_time() {
        let current = Process::current();
        for _ in 0..1000 {
            assert!(current.is_current());
            assert!(!Process(current.0 + 1).is_current());
        }
        seam::PROCESS.set(Some(current.0 + 1));
        assert!(!current.is_current());
    }
}
