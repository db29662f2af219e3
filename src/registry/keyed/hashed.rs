//! Keys with their hashes, which are computed once a call.

#[cfg(not(tower_breaker_loom))]
use std::hash::BuildHasherDefault;
use std::{
    borrow::Borrow as _,
    hash::{BuildHasher as _, Hash, Hasher},
};

use foldhash::quality::RandomState;
use papaya::Equivalent;
use smol_str::SmolStr;

/// Hashes the keys of a group.
///
/// Clients choose the keys. The seed is random for each group, and no answer depends on
/// a hash, so keys that collide can only be found by measuring time. They would slow down lookups
/// of each other, among at most as many keys as the group may have breakers. That is why a hash of
/// `foldhash` is enough, in a quarter of the time of `SipHash`. All its bits are needed: those of
/// the variant `fast` are not random enough to take a sample of keys.
#[derive(Default)]
pub(super) struct KeyHasher(RandomState);

impl KeyHasher {
    #[inline]
    pub(super) fn hash<'a>(&self, text: &'a str) -> HashedRef<'a> {
        // Without what `Hash` adds to tell a text from the next one.
        let mut hasher = self.0.build_hasher();
        hasher.write(text.as_bytes());
        HashedRef { hash: hasher.finish(), text }
    }
}

/// A key of a call.
#[derive(Clone, Copy)]
pub(super) struct HashedRef<'a> {
    pub(super) hash: u64,
    pub(super) text: &'a str,
}

/// A key of a breaker.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Hashed {
    hash: u64,
    pub(super) text: SmolStr,
}

impl HashedRef<'_> {
    pub(super) fn to_owned(self) -> Hashed {
        Hashed { hash: self.hash, text: self.text.into() }
    }
}

impl Hashed {
    pub(super) fn as_ref(&self) -> HashedRef<'_> {
        HashedRef { hash: self.hash, text: self.text.borrow() }
    }
}

impl Hash for Hashed {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hash for HashedRef<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Equivalent<Hashed> for HashedRef<'_> {
    #[inline]
    fn equivalent(&self, key: &Hashed) -> bool {
        self.hash == key.hash && self.text == key.text
    }
}

/// Passes the hash of a key on.
#[cfg(not(tower_breaker_loom))]
pub(super) type PassHash = BuildHasherDefault<PassHasher>;

#[cfg(not(tower_breaker_loom))]
#[derive(Default)]
pub(super) struct PassHasher(u64);

#[cfg(not(tower_breaker_loom))]
impl Hasher for PassHasher {
    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    /// Not used by the keys above.
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_has_hashes_of_its_own() {
        let (one, other) = (KeyHasher::default(), KeyHasher::default());
        assert_eq!(one.hash("a").hash, one.hash("a").hash);
        assert_ne!(one.hash("a").hash, one.hash("b").hash);
        assert_ne!(one.hash("a").hash, other.hash("a").hash);
    }
}
