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
    places: ByHash<Place>,
    bytes: usize,
}

/// What is known about the keys of one hash.
#[derive(Clone, Copy)]
enum Place {
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

    /// The bytes of all keys and values.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn add(&mut self, page: Page) {
        let Ok(number) = u32::try_from(self.all.len()) else { return };
        self.bytes += page.bytes.len();
        self.places.reserve(page.keys.len());
        for (hash, range) in &page.keys {
            let place = Place::At { page: number, range: *range };
            match self.places.entry(*hash) {
                Entry::Vacant(vacant) => drop(vacant.insert(place)),
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
        let Place::At { page, range } = *place else { return Lookup::StruckOff };
        let page = &self.all[page as usize];
        if page.key(range) != key.as_bytes() {
            return Lookup::Absent;
        }
        *place = Place::StruckOff;
        Lookup::Present(Value { page: Arc::clone(page), range })
    }
}

/// Packs a page. `None` if it is far too large.
pub(super) fn pack(entries: Vec<(String, Vec<u8>)>) -> Option<Page> {
    let length = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
    let mut bytes = Vec::with_capacity(length);
    let mut keys = Vec::with_capacity(entries.len());
    let position = |bytes: &Vec<u8>| u32::try_from(bytes.len()).ok();
    for (name, content) in entries {
        let key = position(&bytes)?;
        bytes.extend_from_slice(name.as_bytes());
        let value = position(&bytes)?;
        bytes.extend_from_slice(&content);
        keys.push((hashes::hash(&name), Range { key, value, end: position(&bytes)? }));
    }
    Some(Page { bytes, keys })
}
