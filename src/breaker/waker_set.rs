//! Tasks that wait for something to happen to the circuit.

use std::{collections::BTreeMap, task::Waker};

/// The wakers of tasks that wait, each under a number of its own.
#[derive(Default)]
pub(crate) struct WakerSet {
    parked: BTreeMap<u64, Waker>,
    next: u64,
}

impl WakerSet {
    /// A number that nobody has had.
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }

    /// Whether nobody waits who came before the one with this number, or before a newcomer.
    pub(crate) fn is_first(&self, key: Option<u64>) -> bool {
        self.parked.keys().next().is_none_or(|first| key.is_some_and(|key| key <= *first))
    }

    /// The one who has waited the longest.
    pub(crate) fn take_first(&mut self) -> Option<(u64, Waker)> {
        self.parked.pop_first()
    }

    /// Parks a waker under its key, or under a new one. A task that moved gets its new waker in.
    /// Returns the one whose place it took, to be dropped without the lock: it may be the last
    /// that holds a task, and with it services that wait here too.
    #[must_use]
    pub(crate) fn park(&mut self, key: &mut Option<u64>, waker: &Waker) -> Option<Waker> {
        let key = *key.get_or_insert_with(|| self.number());
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

    pub(crate) fn into_wakers(self) -> impl Iterator<Item = Waker> {
        self.parked.into_values()
    }

    pub(crate) fn wake(self) {
        self.into_wakers().for_each(Waker::wake);
    }
}
