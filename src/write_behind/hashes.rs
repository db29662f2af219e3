//! Hashes of keys. A key is hashed once, and maps go by the hash: a start may bring a hundred
//! thousand, and a map that grows would hash all of them again and again.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState},
    sync::LazyLock,
};

/// A map by the hashes of keys. Different keys may have the same hash.
pub(super) type ByHash<T> = HashMap<u64, T, BuildHasherDefault<AsItIs>>;

static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The hash of a key, which no other process knows.
pub(super) fn hash(key: &str) -> u64 {
    HASHES.hash_one(key)
}

/// The hash of a hash.
#[derive(Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
