//! Processes that are forked.

use std::{cell::Cell, time::Duration};

use crate::clock::{SystemClock, Tick};

/// A process is not forked faster than this. To ask for the process is a call to the system, which
/// costs more than all else when a hundred thousand circuits are restored or dropped.
pub(crate) const FASTEST_FORK: Duration = Duration::from_micros(20);

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
