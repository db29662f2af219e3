//! Which keys of the sample were noted in this epoch already: what nearly every call finds out
//! without a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many keys a set has marks for: as many as a cache line holds.
const KEYS: usize = 8;

/// The marks of the keys whose hashes lead here.
#[derive(Default)]
#[repr(align(64))]
struct MarkSet([AtomicU64; KEYS]);

/// A mark has the first half of a key's hash, and the epoch in which the key was noted.
pub(super) struct Marks(Box<[MarkSet]>);

impl Marks {
    /// For at most this many keys at once: a power of two. There are four times as many marks, so
    /// that only one key in a thousand shares a set with more keys than it has marks for. Such
    /// keys displace each other, and are noted again.
    pub(super) fn new(keys: usize) -> Self {
        Self((0..4 * keys / KEYS).map(|_| MarkSet::default()).collect())
    }

    /// Whether this key was noted in this epoch.
    #[inline]
    pub(super) fn has(&self, hash: u64, epoch: u32) -> bool {
        let mark = mark(hash, epoch);
        self.set_of(hash).0.iter().any(|known| known.load(Relaxed) == mark)
    }

    /// This key was noted in this epoch.
    pub(super) fn set(&self, hash: u64, epoch: u32) {
        let marks = &self.set_of(hash).0;
        let is_free = |known: &&AtomicU64| {
            let known = known.load(Relaxed);
            known == 0 || epoch_of(known) < epoch
        };
        let any = (hash >> u32::BITS) as usize % KEYS;
        marks.iter().find(is_free).unwrap_or(&marks[any]).store(mark(hash, epoch), Relaxed);
    }

    #[inline]
    fn set_of(&self, hash: u64) -> &MarkSet {
        #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
        let index = hash as usize & (self.0.len() - 1);
        &self.0[index]
    }
}

/// Two keys with the same set have the same mark in one of 2^32 cases; then only the first is
/// noted in that epoch.
const fn mark(hash: u64, epoch: u32) -> u64 {
    hash & !(u32::MAX as u64) | epoch as u64
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is the epoch")]
const fn epoch_of(mark: u64) -> u32 {
    mark as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_share_a_set_have_a_mark_each() {
        let marks = Marks::new(4096);
        let hashes: Vec<u64> = (1..=KEYS as u64).map(|key| key << 40 | 7).collect();
        for epoch in 0..4 {
            for hash in &hashes {
                assert!(!marks.has(*hash, epoch));
                marks.set(*hash, epoch);
            }
            assert!(hashes.iter().all(|hash| marks.has(*hash, epoch)), "in epoch {epoch}");
        }
    }

    #[test]
    fn more_keys_than_a_set_has_marks_for_displace_each_other() {
        let marks = Marks::new(4096);
        let hashes: Vec<u64> = (1..=KEYS as u64 + 1).map(|key| key << 40 | 7).collect();
        for hash in &hashes {
            marks.set(*hash, 1);
        }
        assert_eq!(hashes.iter().filter(|hash| marks.has(**hash, 1)).count(), KEYS);
        assert!(marks.has(hashes[KEYS], 1), "the last one is known");
    }

    #[test]
    fn of_all_keys_that_are_known_one_by_one_nearly_none_is_displaced() {
        const ALL: usize = 4096;
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20 {
            let marks = Marks::new(ALL);
            let hashes: Vec<u64> = (0..ALL).map(|_| random.u64(..)).collect();
            for hash in &hashes {
                marks.set(*hash, 1);
            }
            let displaced = hashes.iter().filter(|hash| !marks.has(**hash, 1)).count();
            assert!(displaced < ALL / 200, "{displaced}");
        }
    }
}
