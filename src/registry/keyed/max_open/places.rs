//! Which keys may have an open circuit, and which of those were seen lately, for the calls of keys
//! that are not in the sample.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Powers of two. The largest number takes 2 MiB.
const FEWEST: usize = 1 << 12;
const MOST: usize = 1 << 17;

/// A mark is so many bits of the epoch, and the first ones of the hash above them. It is the same
/// again after 5.7 hours.
const EPOCH_BITS: u32 = 12;
const EPOCH_MASK: u32 = (1 << EPOCH_BITS) - 1;

/// Places enough that few keys with an open circuit share one with more keys than it has marks for,
/// even if all breakers of the group are open.
pub(super) struct OpenPlaces(Box<[OpenPlace]>);

/// The keys whose hash leads here.
#[derive(Default)]
#[repr(align(16))]
struct OpenPlace {
    /// How many open circuits have one of them.
    open: AtomicU32,
    /// Some that were noted lately, with the epoch.
    marks: [AtomicU32; 3],
}

impl OpenPlaces {
    /// For a group of at most this many breakers.
    pub(super) fn new(max_breakers: usize) -> Self {
        let places = max_breakers.clamp(FEWEST, MOST).next_power_of_two();
        Self((0..places).map(|_| OpenPlace::default()).collect())
    }

    #[inline]
    pub(super) fn may_have(&self, hash: u64) -> bool {
        self.place(hash).open.load(Relaxed) > 0
    }

    /// Notes a key that may have an open circuit. Returns whether it is not known to have been
    /// noted in this epoch already. Not inlined: most calls do not need it.
    pub(super) fn note(&self, hash: u64, epoch: u32) -> bool {
        let (marks, mark) = (&self.place(hash).marks, mark(hash, epoch));
        if marks.iter().any(|it| it.load(Relaxed) == mark) {
            return false;
        }
        let is_old = |it: &&AtomicU32| (it.load(Relaxed) ^ mark) & EPOCH_MASK != 0;
        let oldest = marks.iter().find(is_old).unwrap_or(&marks[(mark >> EPOCH_BITS) as usize % 3]);
        oldest.store(mark, Relaxed);
        true
    }

    pub(super) fn add(&self, key: Option<u64>) {
        if let Some(hash) = key {
            self.place(hash).open.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn remove(&self, key: Option<u64>) {
        if let Some(hash) = key {
            self.place(hash).open.fetch_sub(1, Relaxed);
        }
    }

    #[inline]
    fn place(&self, hash: u64) -> &OpenPlace {
        #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
        let index = hash as usize & (self.0.len() - 1);
        &self.0[index]
    }
}

/// Two keys with the same place have the same mark in one of 2^20 cases; then only the first is
/// noted in that epoch.
const fn mark(hash: u64, epoch: u32) -> u32 {
    (hash >> u32::BITS) as u32 & !EPOCH_MASK | epoch & EPOCH_MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_every_open_key_is_noted_once_in_an_epoch_even_if_all_breakers_are_open() {
        const KEYS: usize = 100_000;
        let mut random = fastrand::Rng::with_seed(1);
        let hashes: Vec<u64> = (0..KEYS).map(|_| random.u64(..)).collect();
        let places = OpenPlaces::new(KEYS);
        for epoch in 1..4 {
            let note_all = || hashes.iter().filter(|hash| places.note(**hash, epoch)).count();
            assert_eq!(note_all(), KEYS);
            for _ in 0..3 {
                let again = note_all();
                assert!(again < KEYS / 16, "{again} again in epoch {epoch}");
            }
        }
    }

    #[test]
    fn a_key_may_have_an_open_circuit_until_all_of_its_place_have_closed() {
        let places = OpenPlaces::new(1);
        let (key, neighbour) = (7, 7 + FEWEST as u64);
        assert!(!places.may_have(key));
        places.add(Some(key));
        places.add(Some(neighbour));
        assert!(places.may_have(key) && !places.may_have(key + 1));
        places.remove(Some(key));
        assert!(places.may_have(key));
        places.remove(Some(neighbour));
        assert!(!places.may_have(key));
    }

    #[test]
    fn the_places_of_a_group_without_a_bound_are_bounded() {
        assert_eq!(OpenPlaces::new(usize::MAX).0.len() * size_of::<OpenPlace>(), 2 << 20);
    }
}
