//! The wakers of waiting tasks.

use std::{collections::BTreeMap, task::Waker};

/// Wakers under keys that grow with each newcomer, so that the first is the oldest.
///
/// The methods return the wakers that they remove, to be dropped without the lock: a waker may own
/// the last reference to a task, and with it a service that waits here too.
#[derive(Default)]
pub(super) struct WakerSet {
    wakers: BTreeMap<u64, Waker>,
    last_key: u64,
}

impl WakerSet {
    /// A key that was never in use.
    pub(super) fn new_key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wakers.is_empty()
    }

    /// Whether there never was a waker, so that no key is in use.
    pub(super) const fn is_unused(&self) -> bool {
        self.last_key == 0
    }

    /// Whether no waker is older than the one with this key or, without a key, than a newcomer's.
    pub(super) fn is_first(&self, key: Option<u64>) -> bool {
        self.wakers.keys().next().is_none_or(|first| key.is_some_and(|key| key <= *first))
    }

    pub(super) fn take_first(&mut self) -> Option<(u64, Waker)> {
        self.wakers.pop_first()
    }

    /// Stores a waker under its key, or under a new one. The waker of a task that has moved
    /// replaces the old one.
    #[must_use]
    pub(super) fn insert(&mut self, key: &mut Option<u64>, waker: &Waker) -> Option<Waker> {
        let key = *key.get_or_insert_with(|| self.new_key());
        match self.wakers.get(&key) {
            Some(stored) if stored.will_wake(waker) => None,
            _ => self.wakers.insert(key, waker.clone()),
        }
    }

    #[must_use]
    pub(super) fn remove(&mut self, key: u64) -> Option<Waker> {
        self.wakers.remove(&key)
    }

    /// Removes every waker, oldest first. Keys are not reused, so a stale one never names a
    /// newcomer.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Waker> + use<> {
        std::mem::take(&mut self.wakers).into_values()
    }
}
