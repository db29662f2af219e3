//! What was read from a store page by page, packed, and found by key.
//!
//! A store may hold a hundred thousand snapshots: two allocations for each would cost more than all
//! else when they are read.

use std::{collections::hash_map::Entry, sync::Arc};

use super::hashes::{self, ByHash};

/// Keys with their values, in few allocations.
pub(super) struct Page {
    bytes: Vec<u8>,
    /// The hash of each key, and where it is.
    keys: Vec<(u64, Range)>,
    /// Whether more was added than a page can hold.
    is_too_large: bool,
}

/// Where a key and its value are in the bytes of a page, one after the other.
#[derive(Clone, Copy)]
struct Range {
    key: u32,
    value: u32,
    end: u32,
}

/// A value on a page, which it keeps.
pub(super) struct Value {
    page: Arc<Page>,
    range: Range,
}

#[derive(Default)]
pub(super) struct Pages {
    all: Vec<Arc<Page>>,
    places: ByHash<Occupancy>,
    bytes: usize,
}

/// What is known about the keys of one hash.
#[derive(Clone, Copy)]
enum Occupancy {
    At {
        page: u32,
        range: Range,
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
    /// An empty page with memory for so much.
    pub(super) fn with_capacity(keys: usize, bytes: usize) -> Self {
        let (bytes, keys) = (Vec::with_capacity(bytes), Vec::with_capacity(keys));
        Self { bytes, keys, is_too_large: false }
    }

    pub(super) fn push(&mut self, key: &str, value: &[u8]) {
        let start = self.bytes.len();
        let ends = (start + key.len(), start + key.len() + value.len());
        let (Ok(start), Ok(middle), Ok(end)) =
            (u32::try_from(start), u32::try_from(ends.0), u32::try_from(ends.1))
        else {
            self.is_too_large = true;
            return;
        };
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.extend_from_slice(value);
        self.keys.push((hashes::hash(key), Range { key: start, value: middle, end }));
    }

    /// The number of keys.
    pub(super) const fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) const fn is_too_large(&self) -> bool {
        self.is_too_large
    }

    fn key(&self, range: Range) -> &[u8] {
        &self.bytes[range.key as usize..range.value as usize]
    }
}

impl Value {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.page.bytes[self.range.value as usize..self.range.end as usize]
    }
}

impl Pages {
    /// The last key that was added.
    pub(super) fn last_key(&self) -> Option<String> {
        let page = self.all.last()?;
        let key = page.key(page.keys.last()?.1);
        String::from_utf8(key.to_vec()).ok()
    }

    /// How many bytes the next page is expected to hold: somewhat more than the last.
    pub(super) fn expected_bytes(&self) -> usize {
        self.all.last().map_or(0, |page| page.bytes() + page.bytes() / 16)
    }

    /// The bytes of all keys and values.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn add(&mut self, page: Page) {
        let Ok(number) = u32::try_from(self.all.len()) else { return };
        self.bytes += page.bytes();
        self.places.reserve(page.keys.len());
        for (hash, range) in &page.keys {
            let place = Occupancy::At { page: number, range: *range };
            match self.places.entry(*hash) {
                Entry::Vacant(vacant) => drop(vacant.insert(place)),
                Entry::Occupied(mut known) => drop(known.insert(Occupancy::StruckOff)),
            }
        }
        self.all.push(Arc::new(page));
    }

    /// From now on, nothing is known about this key.
    pub(super) fn strike_off(&mut self, key: &str) {
        self.places.insert(hashes::hash(key), Occupancy::StruckOff);
    }

    /// Takes a value out: the key is struck off.
    pub(super) fn take(&mut self, key: &str, hash: u64) -> Lookup {
        let Some(place) = self.places.get_mut(&hash) else { return Lookup::Absent };
        let Occupancy::At { page, range } = *place else { return Lookup::StruckOff };
        let page = &self.all[page as usize];
        if page.key(range) != key.as_bytes() {
            return Lookup::Absent;
        }
        *place = Occupancy::StruckOff;
        Lookup::Present(Value { page: Arc::clone(page), range })
    }
}
