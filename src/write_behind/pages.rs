//! What was read from a store page by page, packed, and found by key.
//!
//! A store may hold a hundred thousand snapshots: two allocations for each would cost more than all
//! else when they are read.

use std::{collections::hash_map::Entry, sync::Arc};

use super::hashes::{self, ByHash};

/// Keys with their values, in few allocations.
pub(super) struct Page {
    bytes: Vec<u8>,
    /// Where each key ends, and then its value. The next key begins there.
    ends: Vec<[usize; 2]>,
    /// The hash of each key.
    hashes: Vec<u64>,
}

/// A value on a page, which it keeps.
pub(super) struct Value {
    page: Arc<Page>,
    index: usize,
}

#[derive(Default)]
pub(super) struct Pages {
    all: Vec<Arc<Page>>,
    places: ByHash<Place>,
    bytes: usize,
}

/// What is known about the keys of one hash.
#[derive(Clone, Copy)]
enum Place {
    At {
        page: u32,
        index: u32,
    },
    /// Nothing: the key was struck off, or several keys have this hash.
    StruckOff,
}

/// What the pages hold under a key.
pub(super) enum Lookup {
    StruckOff,
    Absent,
    Present(Value),
}

impl Page {
    fn key(&self, index: usize) -> &[u8] {
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before][1]);
        &self.bytes[begin..self.ends[index][0]]
    }
}

impl Value {
    pub(super) fn bytes(&self) -> &[u8] {
        let [begin, end] = self.page.ends[self.index];
        &self.page.bytes[begin..end]
    }
}

impl Pages {
    /// The last key that was added.
    pub(super) fn last_key(&self) -> Option<String> {
        let page = self.all.last()?;
        let key = page.key(page.ends.len().checked_sub(1)?);
        String::from_utf8(key.to_vec()).ok()
    }

    /// The bytes of all keys and values.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn add(&mut self, page: Page) {
        let Ok(number) = u32::try_from(self.all.len()) else { return };
        self.bytes += page.bytes.len();
        self.places.reserve(page.hashes.len());
        for (index, hash) in (0..).zip(&page.hashes) {
            match self.places.entry(*hash) {
                Entry::Vacant(vacant) => drop(vacant.insert(Place::At { page: number, index })),
                Entry::Occupied(mut known) => drop(known.insert(Place::StruckOff)),
            }
        }
        self.all.push(Arc::new(page));
    }

    /// From now on, nothing is known about this key.
    pub(super) fn strike_off(&mut self, key: &str) {
        self.places.insert(hashes::hash(key), Place::StruckOff);
    }

    /// Takes a value out: the key is struck off.
    pub(super) fn take(&mut self, key: &str, hash: u64) -> Lookup {
        let Some(place) = self.places.get_mut(&hash) else { return Lookup::Absent };
        let Place::At { page, index } = *place else { return Lookup::StruckOff };
        let (page, index) = (&self.all[page as usize], index as usize);
        if page.key(index) != key.as_bytes() {
            return Lookup::Absent;
        }
        *place = Place::StruckOff;
        Lookup::Present(Value { page: Arc::clone(page), index })
    }
}

/// Packs a page.
pub(super) fn pack(entries: Vec<(String, Vec<u8>)>) -> Page {
    let length = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
    let mut bytes = Vec::with_capacity(length);
    let mut ends = Vec::with_capacity(entries.len());
    let mut hashes = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        hashes.push(hashes::hash(&key));
        bytes.extend_from_slice(key.as_bytes());
        let key_end = bytes.len();
        bytes.extend_from_slice(&value);
        ends.push([key_end, bytes.len()]);
    }
    Page { bytes, ends, hashes }
}
