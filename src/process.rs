//! Processes that are forked.

use std::{
    cell::Cell,
    ops::{Deref, DerefMut},
    sync::{
        Mutex, MutexGuard, TryLockError,
        atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
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

    /// None at all.
    pub(crate) const fn none() -> Self {
        Self(0)
    }

    pub(crate) const fn id(self) -> u32 {
        self.0
    }
}

/// The process that has first used what a forked one inherits and must not use: a file that is open
/// in both, for example.
#[derive(Debug, Default)]
pub(crate) struct FirstProcess(AtomicU32);

impl FirstProcess {
    /// Whether this process is the first, also because there was none.
    pub(crate) fn claim(&self) -> bool {
        let this = Process::current().id();
        let first = match self.0.load(SeqCst) {
            0 => self
                .0
                .compare_exchange(0, this, SeqCst, SeqCst)
                .map_or_else(|first| first, |_| this),
            first => first,
        };
        first == this
    }

    /// Whether another process is the first.
    #[cfg(any(test, feature = "redb", feature = "sled"))]
    pub(crate) fn is_other(&self) -> bool {
        let first = self.0.load(SeqCst);
        first != 0 && first != Process::current().id()
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

/// Takes a lock. If this process `is_forked`, a thread of the other one may have held it at the
/// fork. Then it is never released here, and this returns `None`.
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

/// How many copies there are of what [`EachProcess`] holds.
const COPIES: usize = 4;

/// Something that belongs to the process, behind a lock. A process that is forked while a thread of
/// the other one has locked it goes on with another copy.
pub(crate) struct EachProcess<T> {
    copies: [Mutex<T>; COPIES],
    /// The process that has [claimed](Guard::claim) it last, and the copy in use.
    used: AtomicU64,
}

/// The copy in use, locked.
pub(crate) struct Guard<'a, T> {
    copy: MutexGuard<'a, T>,
    all: &'a EachProcess<T>,
    index: usize,
}

impl<T> EachProcess<T> {
    pub(crate) const fn new(copies: [Mutex<T>; COPIES]) -> Self {
        Self { copies, used: AtomicU64::new(0) }
    }

    /// Locks it. `None`: this process has no copy that it could lock.
    pub(crate) fn lock(&self) -> Option<Guard<'_, T>> {
        loop {
            let used = self.used.load(SeqCst);
            let (process, index) = split(used);
            let is_forked = || {
                let is_same = self.used.load(SeqCst) == used;
                is_same && process != 0 && process != Process::current().id()
            };
            match lock(self.copies.get(index)?, is_forked) {
                Some(copy) if split(self.used.load(SeqCst)).1 == index => {
                    return Some(Guard { copy, all: self, index });
                }
                // Another thread has gone on to the next copy meanwhile.
                Some(_) => {}
                None => {
                    let next = join(Process::current().id(), index + 1);
                    // Unless another thread has done that, or claimed this one.
                    let _ = self.used.compare_exchange(used, next, SeqCst, SeqCst);
                }
            }
        }
    }

    /// Locks and claims it.
    pub(crate) fn claim(&self) -> Option<Guard<'_, T>> {
        loop {
            let guard = self.lock()?;
            if guard.claim() {
                return Some(guard);
            }
        }
    }
}

impl<T> Guard<'_, T> {
    /// From now on, the threads of this process wait for it as long as it takes. To be called
    /// before something is added. `false`: another copy is in use by now.
    pub(crate) fn claim(&self) -> bool {
        let own = join(Process::current().id(), self.index);
        let claim = |used| (split(used).1 == self.index).then_some(own);
        self.all.used.fetch_update(SeqCst, SeqCst, claim).is_ok()
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.copy
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.copy
    }
}

const fn join(process: u32, index: usize) -> u64 {
    (process as u64) << 32 | index as u64
}

const fn split(used: u64) -> (u32, usize) {
    ((used >> 32) as u32, (used & 0xff) as usize)
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
    use std::sync::{Barrier, mpsc};

    use super::*;

    #[test]
    fn what_a_process_has_used_first_is_not_for_another() {
        let first = FirstProcess::default();
        assert!(!first.is_other());
        assert!(first.claim() && first.claim() && !first.is_other());
        seam::PROCESS.set(Some(1));
        assert!(!first.claim() && first.is_other());
    }

    #[test]
    fn a_forked_process_goes_on_with_another_copy_of_what_is_locked_forever() {
        let numbers = EachProcess::new([const { Mutex::new(0) }; COPIES]);
        let mut parents = numbers.claim().unwrap();
        *parents = 1;
        thread::scope(|scope| {
            let child = scope.spawn(|| {
                seam::PROCESS.set(Some(1));
                assert_eq!(*numbers.lock().unwrap(), 0, "a copy of its own");
                *numbers.claim().unwrap() = 2;
                assert_eq!(*numbers.lock().unwrap(), 2, "the same from then on");
            });
            child.join().unwrap();
        });
        drop(parents);
    }

    #[test]
    fn a_forked_process_keeps_what_it_can_lock() {
        let numbers = EachProcess::new([const { Mutex::new(0) }; COPIES]);
        *numbers.claim().unwrap() = 1;
        seam::PROCESS.set(Some(1));
        assert_eq!(*numbers.lock().unwrap(), 1);
        // However long a thread of its own has it.
        let claimed = numbers.claim().unwrap();
        let (reply, locked) = mpsc::channel();
        let barrier = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                seam::PROCESS.set(Some(1));
                barrier.wait();
                reply.send(*numbers.lock().unwrap()).unwrap();
            });
            barrier.wait();
            let early = locked.recv_timeout(PAUSE * ATTEMPTS * 5);
            assert_eq!(early, Err(mpsc::RecvTimeoutError::Timeout));
            drop(claimed);
            assert_eq!(locked.recv().unwrap(), 1);
        });
    }

    #[test]
    fn without_a_copy_that_can_be_locked_there_is_none() {
        let numbers = EachProcess::new([const { Mutex::new(0) }; COPIES]);
        thread::scope(|scope| {
            let mut guards = Vec::new();
            for process in 1..=4 {
                seam::PROCESS.set(Some(process));
                guards.push(numbers.claim().unwrap());
            }
            let last = scope.spawn(|| {
                seam::PROCESS.set(Some(5));
                numbers.claim().is_none()
            });
            assert!(last.join().unwrap());
        });
    }

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
