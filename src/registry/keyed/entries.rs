//! The map from keys to breakers. Its readers take no lock.

use super::{
    hashed::{Hashed, HashedRef},
    replacement::Occupant,
};
use crate::sync::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// A breaker of a key.
pub(super) struct KeyEntry<B> {
    pub(super) breaker: B,
    /// 1 if it was used since it was last considered for replacement, else 0.
    is_used: AtomicU64,
}

impl<B> KeyEntry<B> {
    pub(super) fn new(breaker: B) -> Self {
        Self { breaker, is_used: AtomicU64::new(0) }
    }

    /// The breaker, which is used now, with the state that it takes over from an older one.
    #[inline]
    pub(super) fn touch(&self) -> &B
    where
        B: Occupant,
    {
        // Most calls only read, so that threads do not pass the cache line round. Acquire: a call
        // that finds it used finds that state.
        if self.is_used.load(Acquire) == 0 {
            self.begin_use();
        }
        &self.breaker
    }

    #[cold]
    fn begin_use(&self)
    where
        B: Occupant,
    {
        self.breaker.take_over();
        self.is_used.store(1, Release);
    }

    pub(super) fn is_used(&self) -> bool {
        self.is_used.load(Relaxed) != 0
    }

    /// Whether it was used. From now on it was not.
    pub(super) fn take_used(&self) -> bool {
        self.is_used.swap(0, Relaxed) != 0
    }
}

#[cfg(not(tower_breaker_loom))]
pub(super) use self::map::Entries;
#[cfg(tower_breaker_loom)]
pub(super) use self::model::Entries;

#[cfg(not(tower_breaker_loom))]
mod map {
    use papaya::HashMap;

    use super::{Hashed, HashedRef, KeyEntry, Occupant};
    use crate::registry::keyed::hashed::PassHash;

    pub(in crate::registry::keyed) struct Entries<B>(HashMap<Hashed, KeyEntry<B>, PassHash>);

    impl<B> Entries<B> {
        pub(in crate::registry::keyed) fn new() -> Self {
            Self(HashMap::with_hasher(PassHash::default()))
        }

        #[inline]
        pub(in crate::registry::keyed) fn with<T>(
            &self,
            key: HashedRef<'_>,
            work: impl FnOnce(&KeyEntry<B>) -> T,
        ) -> Option<T> {
            self.0.pin().get(&key).map(work)
        }

        /// Passes the breaker of a key, which is used now, to the closure. Gives the closure back
        /// if there is none.
        #[inline]
        pub(in crate::registry::keyed) fn use_breaker<T, W: FnOnce(&B) -> T>(
            &self,
            key: HashedRef<'_>,
            work: W,
        ) -> Result<T, W>
        where
            B: Occupant,
        {
            match self.0.pin().get(&key) {
                Some(entry) => Ok(work(entry.touch())),
                None => Err(work),
            }
        }

        pub(in crate::registry::keyed) fn insert(&self, key: Hashed, entry: KeyEntry<B>) {
            self.0.pin().insert(key, entry);
        }

        pub(in crate::registry::keyed) fn remove(&self, key: HashedRef<'_>) {
            self.0.pin().remove(&key);
        }
    }

    impl<B: Clone> Entries<B> {
        pub(in crate::registry::keyed) fn breakers(&self) -> Vec<B> {
            self.0.pin().values().map(|entry| entry.breaker.clone()).collect()
        }
    }
}

/// What the map promises, for the models: each access is one step, and an entry that was found
/// outlives its removal.
#[cfg(tower_breaker_loom)]
mod model {
    use std::sync::Arc;

    use super::{Hashed, HashedRef, KeyEntry, Occupant};
    use crate::sync::{Mutex, lock};

    pub(in crate::registry::keyed) struct Entries<B>(Mutex<Vec<(Hashed, Arc<KeyEntry<B>>)>>);

    impl<B> Entries<B> {
        pub(in crate::registry::keyed) fn new() -> Self {
            Self(Mutex::new(Vec::new()))
        }

        pub(in crate::registry::keyed) fn with<T>(
            &self,
            key: HashedRef<'_>,
            work: impl FnOnce(&KeyEntry<B>) -> T,
        ) -> Option<T> {
            self.get(key).map(|entry| work(&entry))
        }

        pub(in crate::registry::keyed) fn use_breaker<T, W: FnOnce(&B) -> T>(
            &self,
            key: HashedRef<'_>,
            work: W,
        ) -> Result<T, W>
        where
            B: Occupant,
        {
            match self.get(key) {
                Some(entry) => Ok(work(entry.touch())),
                None => Err(work),
            }
        }

        fn get(&self, key: HashedRef<'_>) -> Option<Arc<KeyEntry<B>>> {
            let all = lock(&self.0);
            let mut found = all.iter().filter(|(known, _)| known.text == key.text);
            found.next().map(|(_, entry)| Arc::clone(entry))
        }

        pub(in crate::registry::keyed) fn insert(&self, key: Hashed, entry: KeyEntry<B>) {
            let mut all = lock(&self.0);
            all.retain(|(known, _)| known.text != key.text);
            all.push((key, Arc::new(entry)));
        }

        pub(in crate::registry::keyed) fn remove(&self, key: HashedRef<'_>) {
            lock(&self.0).retain(|(known, _)| known.text != key.text);
        }
    }

    impl<B: Clone> Entries<B> {
        pub(in crate::registry::keyed) fn breakers(&self) -> Vec<B> {
            lock(&self.0).iter().map(|(_, entry)| entry.breaker.clone()).collect()
        }
    }
}
