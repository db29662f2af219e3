//! The values that this process was the last to save in Redis, as far as it knows.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::Mutex,
};

use super::seen::end;
use crate::sync::std_lock as lock;

/// More than this are forgotten. Then they are not removed, and expire.
const MOST: usize = 1 << 20;

/// The hashes of values, by the hashes of their keys: a process may have very many.
#[derive(Default)]
pub(super) struct Own {
    values: Mutex<HashMap<u64, u64>>,
    hasher: RandomState,
}

impl Own {
    /// This process has saved the value under the key.
    pub(super) fn note(&self, key: &str, value: &[u8]) {
        let mut values = lock(&self.values);
        if values.len() >= MOST {
            *values = HashMap::new();
        }
        values.insert(self.hasher.hash_one(key), self.hash(value));
    }

    /// Whether anything was saved under the key.
    pub(super) fn knows(&self, key: &str) -> bool {
        lock(&self.values).contains_key(&self.hasher.hash_one(key))
    }

    /// Whether this is what was saved last under the key.
    pub(super) fn is_last(&self, key: &str, value: &[u8]) -> bool {
        lock(&self.values).get(&self.hasher.hash_one(key)) == Some(&self.hash(value))
    }

    pub(super) fn forget(&self, key: &str) {
        lock(&self.values).remove(&self.hasher.hash_one(key));
    }

    /// No two snapshots of one breaker end alike.
    fn hash(&self, value: &[u8]) -> u64 {
        self.hasher.hash_one(end(value))
    }
}

#[cfg(test)]
mod tests {
    use super::Own;

    #[test]
    fn what_was_saved_last_is_known() {
        let own = Own::default();
        own.note("a", b"1");
        own.note("a", b"2");
        own.note("b", b"1");
        assert!(own.knows("a") && own.is_last("a", b"2") && own.is_last("b", b"1"));
        assert!(!own.is_last("a", b"1") && !own.is_last("b", b"2"));
        assert!(!own.knows("c") && !own.is_last("c", b""));
        own.forget("a");
        assert!(!own.knows("a") && !own.is_last("a", b"2"));
        assert!(own.knows("b"));
    }
}
