//! The end of a fleet's thread, for the one who drops the fleet.

use std::{
    sync::{
        Mutex,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use crate::{
    store::{DropWait, LONGEST_DROP},
    sync::std_lock,
};

/// The longest that a drop waits.
const WAIT: Duration = Duration::from_millis(500);

/// When a wait was last in vain. Fleets and shards that are dropped one after the other wait for a
/// server that does not answer once.
static IN_VAIN: Mutex<Option<Instant>> = Mutex::new(None);

/// A thread that takes votes back before it ends.
#[derive(Debug)]
pub(super) struct Leaving {
    thread: ThreadId,
    /// Disconnected once it has ended.
    ended: Receiver<()>,
}

impl Leaving {
    pub(super) const fn new(thread: ThreadId, ended: Receiver<()>) -> Self {
        Self { thread, ended }
    }

    /// Waits until the thread has ended, but not for long: the process may end after this. Not on
    /// the thread itself, where a listener may drop the fleet.
    pub(super) fn wait(&self) {
        let is_in_vain = || std_lock(&IN_VAIN).is_some_and(|at| at.elapsed() < 2 * WAIT);
        if self.is_here() || is_in_vain() {
            return;
        }
        // All drops of the process wait within one budget.
        let wait = DropWait::begin(LONGEST_DROP);
        if self.ended.recv_timeout(wait.longest().min(WAIT)) == Err(RecvTimeoutError::Timeout) {
            *std_lock(&IN_VAIN) = Some(Instant::now());
        }
    }

    fn is_here(&self) -> bool {
        thread::current().id() == self.thread
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_wait_ends_with_the_thread_and_there_is_none_on_the_thread_itself() {
        let (running, ended) = mpsc::channel();
        let thread = thread::spawn(move || drop(running));
        let leaving = Leaving::new(thread.thread().id(), ended);
        assert!(!leaving.is_here());
        thread.join().unwrap();
        leaving.wait();
        assert_eq!(leaving.ended.try_recv(), Err(mpsc::TryRecvError::Disconnected));
        let here = Leaving::new(thread::current().id(), mpsc::channel().1);
        assert!(here.is_here());
    }
}
