//! Tasks that wait for the circuit to open, or for a call to be admitted.

use std::task::Waker;

use super::Cell;
use crate::breaker::wait_queue::Readiness;

impl Cell {
    /// Registers a waker to be called when the circuit rejects calls. `false` if it does already.
    #[must_use]
    pub(crate) fn register_rejection_waker(
        &'static self,
        key: &mut Option<u64>,
        waker: &Waker,
    ) -> bool {
        self.inspect(|_, _| ());
        let mut core = self.lock();
        // The state cannot change while the lock is held.
        if self.state().admits_none() {
            return false;
        }
        let displaced = core.notifier().rejection_wakers.insert(key, waker);
        drop(core);
        drop(displaced);
        true
    }

    pub(crate) fn remove_rejection_waker(&self, key: u64) {
        let removed = self.lock().notifier().rejection_wakers.remove(key);
        drop(removed);
    }

    /// Checks whether a call may be made now, and queues the waker if not. `key` identifies the
    /// waiter: keep it for the next check, and end with
    /// [`leave_wait_queue`](Self::leave_wait_queue).
    pub(crate) fn poll_capacity(&'static self, key: &mut Option<u64>, waker: &Waker) -> Readiness {
        let mut displaced = None;
        let readiness = self.with_core(|core| {
            let (capacity, now) =
                core.transact(self.successes(), |machine, _| (machine.capacity(), machine.now))?;
            let (readiness, old) = core.notifier().wait_queue.poll(capacity, now, key, waker);
            displaced = old;
            Some(readiness)
        });
        drop(displaced);
        // A handle keeps the cell leased, so there is a machine to ask.
        readiness.unwrap_or(Readiness::Ready)
    }

    /// Removes a waiter from the queue. Its reservation passes to the next one.
    pub(crate) fn leave_wait_queue(&'static self, key: u64) {
        let removed = self.with_core(|core| {
            core.machine.as_ref()?;
            Some(core.notifier().wait_queue.leave(key))
        });
        drop(removed);
    }
}
