//! Tasks that wait for something to happen to the circuit.

use std::{collections::BTreeMap, task::Waker};

/// The wakers of tasks that wait, each under a number of its own.
#[derive(Default)]
pub(crate) struct Waiters {
    parked: BTreeMap<u64, Waker>,
    next: u64,
}

impl Waiters {
    /// Parks a waker under its key, or under a new one. A task that moved gets its new waker in.
    /// Returns the one whose place it took, to be dropped without the lock: it may be the last
    /// that holds a task, and with it services that wait here too.
    #[must_use]
    pub(crate) fn park(&mut self, key: &mut Option<u64>, waker: &Waker) -> Option<Waker> {
        let key = *key.get_or_insert_with(|| {
            self.next += 1;
            self.next
        });
        match self.parked.get(&key) {
            Some(parked) if parked.will_wake(waker) => None,
            _ => self.parked.insert(key, waker.clone()),
        }
    }

    /// Returns the waker, to be dropped without the lock.
    #[must_use]
    pub(crate) fn remove(&mut self, key: u64) -> Option<Waker> {
        self.parked.remove(&key)
    }

    /// Takes everybody out, to be woken without the lock. Numbers go on, so that an old key
    /// never names a newcomer.
    pub(crate) fn take(&mut self) -> Self {
        Self { parked: std::mem::take(&mut self.parked), next: self.next }
    }

    pub(crate) fn wake(self) {
        self.parked.into_values().for_each(Waker::wake);
    }
}
