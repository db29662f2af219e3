//! The places for the breakers of a group: one for each key, up to a limit.

use super::{
    entries::{Entries, KeyEntry},
    hashed::{Hashed, HashedRef},
    replacement::{Candidate, CandidateQueue, Considered, Occupant, Search},
};
use crate::{
    state::State,
    sync::{
        AtomicU64, Mutex, MutexGuard,
        Ordering::{Relaxed, Release},
        lock,
    },
};

/// How often a new key looks for a breaker to replace: another key may take the one that it found.
const ATTEMPTS: usize = 4;

/// Breakers `B`, made from the settings `S`.
///
/// No lock is held while a breaker is asked for its state: that may run listeners, which may use
/// the group.
pub(super) struct Slots<B, S> {
    max: usize,
    entries: Entries<B>,
    /// How many there are. It does not decrease.
    len: AtomicU64,
    /// Counts the breakers that are created.
    created: &'static AtomicU64,
    creation: Mutex<Creation<S>>,
}

/// Locked while an entry comes or goes.
struct Creation<S> {
    settings: S,
    queue: CandidateQueue,
}

/// What became of a key that has no breaker.
pub(super) enum Insertion<B, N> {
    /// Another thread was faster.
    Present,
    /// It has a new one, perhaps instead of one that was replaced.
    New { made_with: N, replaced: Option<B> },
    /// There is no room.
    Full,
}

impl<B: Occupant, S> Slots<B, S> {
    pub(super) fn new(settings: S, max: usize, created: &'static AtomicU64) -> Self {
        Self {
            max,
            entries: Entries::new(),
            len: AtomicU64::new(0),
            created,
            creation: Mutex::new(Creation { settings, queue: CandidateQueue::default() }),
        }
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    pub(super) fn len(&self) -> u64 {
        self.len.load(Relaxed)
    }

    /// Whether there is none, as far as the number of created breakers says that was read before.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn breakers(&self) -> Vec<B> {
        self.entries.breakers()
    }

    /// Passes the breaker of a key to the closure, if there is one.
    #[inline]
    pub(super) fn with<T>(&self, key: HashedRef<'_>, work: impl FnOnce(&B) -> T) -> Option<T> {
        self.entries.with(key, |entry| work(entry.touch()))
    }

    /// Passes the breaker of a key to the closure, or gives the closure back if there is none.
    #[inline]
    pub(super) fn try_with<T, W: FnOnce(&B) -> T>(
        &self,
        key: HashedRef<'_>,
        work: W,
    ) -> Result<T, W> {
        self.entries.use_breaker(key, work)
    }

    /// The breaker of a key, if there is one. It does not count as a use.
    #[cfg(any(feature = "admin", feature = "load", tower_breaker_loom))]
    pub(super) fn peek(&self, key: HashedRef<'_>) -> Option<B> {
        self.entries.with(key, |entry| entry.breaker.clone())
    }

    pub(super) fn settings(&self) -> S
    where
        S: Clone,
    {
        self.lock().settings.clone()
    }

    pub(super) fn with_settings<T>(&self, work: impl FnOnce(&S) -> T) -> T {
        work(&self.lock().settings)
    }

    /// For the breakers that are made from now on.
    pub(super) fn set_settings(&self, settings: S) {
        self.lock().settings = settings;
    }

    /// Makes the breaker of a key, if it has none, and if there is room or another one can be
    /// replaced. `make` must not wait.
    pub(super) fn insert<N>(
        &self,
        key: HashedRef<'_>,
        mut make: impl FnMut(&S) -> (B, N),
    ) -> Insertion<B, N> {
        let mut found = None;
        for _ in 0..ATTEMPTS {
            let mut search = Search::new();
            while !search.is_over() {
                let insertion = self.try_insert(key, found.take().as_ref(), &mut search, &mut make);
                if let Some(insertion) = insertion {
                    return insertion;
                }
            }
            found = search.choose();
            if found.is_none() {
                break;
            }
        }
        Insertion::Full
    }

    /// Makes the breaker of a key, if it has none and there is room. Replaces none.
    pub(super) fn insert_if_room<N>(
        &self,
        key: HashedRef<'_>,
        make: impl FnOnce(&S) -> (B, N),
    ) -> Insertion<B, N> {
        let mut creation = self.lock();
        if self.has(key) {
            return Insertion::Present;
        }
        if creation.queue.len() >= self.max {
            return Insertion::Full;
        }
        let made_with = self.insert_new(&mut creation, key, make);
        Insertion::New { made_with, replaced: None }
    }

    /// Replaces the breaker that an earlier search has found, or searches for one. `None` if there
    /// is no room so far.
    fn try_insert<N>(
        &self,
        key: HashedRef<'_>,
        found: Option<&Candidate<B>>,
        search: &mut Search<B>,
        make: &mut impl FnMut(&S) -> (B, N),
    ) -> Option<Insertion<B, N>> {
        let mut creation = self.lock();
        if self.has(key) {
            return Some(Insertion::Present);
        }
        let mut replaced = found
            .filter(|candidate| self.remove(&mut creation.queue, candidate))
            .map(|candidate| candidate.breaker.clone());
        if creation.queue.len() >= self.max {
            let (idle, breaker) = self.search(&mut creation.queue, search)?;
            self.entries.remove(idle.as_ref());
            replaced = Some(breaker);
        }
        let made_with = self.insert_new(&mut creation, key, make);
        if let Some(breaker) = &replaced {
            // With the lock held: its key must not have another breaker before it has gone. And
            // after the new one has come, so that the store is in use all the time.
            breaker.leave_group();
        }
        Some(Insertion::New { made_with, replaced })
    }

    fn has(&self, key: HashedRef<'_>) -> bool {
        self.entries.with(key, |_| ()).is_some()
    }

    /// Removes the breaker that a search has found, unless its state has changed, it was used
    /// meanwhile, by a call that another search has forgotten too, or its key has another breaker
    /// by now.
    fn remove(&self, queue: &mut CandidateQueue, candidate: &Candidate<B>) -> bool {
        let Candidate { key, breaker, was_used } = candidate;
        let may_go = self.entries.with(key.as_ref(), |entry| {
            let may_go = match breaker.published_state() {
                State::Closed => *was_used || !entry.is_used(),
                // It was half-open when it was chosen.
                State::HalfOpen => !*was_used && !entry.is_used(),
                _ => false,
            };
            may_go && entry.breaker.is(breaker)
        });
        let is_removed = may_go == Some(true) && queue.remove(key);
        if is_removed {
            self.entries.remove(key.as_ref());
        }
        is_removed
    }

    fn search(&self, queue: &mut CandidateQueue, search: &mut Search<B>) -> Option<(Hashed, B)> {
        queue.search(search, |key| {
            self.entries.with(key.as_ref(), |entry| Considered {
                breaker: entry.breaker.clone(),
                was_used: entry.take_used(),
            })
        })
    }

    fn insert_new<N>(
        &self,
        creation: &mut Creation<S>,
        key: HashedRef<'_>,
        make: impl FnOnce(&S) -> (B, N),
    ) -> N {
        let (breaker, made_with) = make(&creation.settings);
        let key = key.to_owned();
        self.entries.insert(key.clone(), KeyEntry::new(breaker));
        creation.queue.push(key);
        self.len.store(u64::try_from(creation.queue.len()).unwrap_or(u64::MAX), Relaxed);
        // Release: a reader of this number finds the breaker.
        self.created.fetch_add(1, Release);
        made_with
    }

    fn lock(&self) -> MutexGuard<'_, Creation<S>> {
        lock(&self.creation)
    }
}

#[cfg(all(test, not(tower_breaker_loom)))]
mod tests;
