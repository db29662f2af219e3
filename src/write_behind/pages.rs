//! What was read from a store page by page, packed, and found by key.
//!
//! A store may hold a hundred thousand snapshots: two allocations for each would cost more than all
//! else when they are read, and so would their text when their breakers are built.

use std::{collections::hash_map::Entry, sync::Arc};

use super::hashes::{self, ByHash};
use crate::snapshot::{ShortSnapshot, Snapshot};

/// Keys with their values, in few allocations.
pub(super) struct Page {
    /// The keys, and the values that have no short form.
    bytes: Vec<u8>,
    entries: Vec<PageEntry>,
    /// Whether more was added than a page can hold.
    is_too_large: bool,
}

struct PageEntry {
    hash: u64,
    /// Where the key and the value are in the bytes of the page, one after the other.
    key: u32,
    value: u32,
    end: u32,
    /// The value, if it has a short form.
    short: Option<ShortSnapshot>,
}

/// A value on a page, which it keeps.
pub(super) struct Value {
    page: Arc<Page>,
    index: u32,
}

/// A value as it is kept.
pub(super) enum Form<'a> {
    Short(ShortSnapshot),
    Bytes(&'a [u8]),
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
    /// An empty page with memory for so much.
    pub(super) fn with_capacity(keys: usize, bytes: usize) -> Self {
        let (bytes, entries) = (Vec::with_capacity(bytes), Vec::with_capacity(keys));
        Self { bytes, entries, is_too_large: false }
    }

    pub(super) fn push(&mut self, key: &str, value: &[u8]) {
        let short = Snapshot::read_short(value);
        let value = if short.is_some() { &[] } else { value };
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
        let hash = hashes::hash(key);
        self.entries.push(PageEntry { hash, key: start, value: middle, end, short });
    }

    /// The number of keys.
    pub(super) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// The memory of what it holds.
    const fn bytes(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<PageEntry>()
    }

    pub(super) const fn is_too_large(&self) -> bool {
        self.is_too_large
    }

    fn key(&self, entry: &PageEntry) -> &[u8] {
        &self.bytes[entry.key as usize..entry.value as usize]
    }
}

impl Value {
    pub(super) fn form(&self) -> Form<'_> {
        let entry = &self.page.entries[self.index as usize];
        match entry.short {
            Some(short) => Form::Short(short),
            None => Form::Bytes(&self.page.bytes[entry.value as usize..entry.end as usize]),
        }
    }
}

impl Pages {
    /// The last key that was added.
    pub(super) fn last_key(&self) -> Option<String> {
        let page = self.all.last()?;
        let key = page.key(page.entries.last()?);
        String::from_utf8(key.to_vec()).ok()
    }

    /// How many bytes the next page is expected to hold: somewhat more than the last.
    pub(super) fn expected_bytes(&self) -> usize {
        self.all.last().map_or(0, |page| page.bytes.len() + page.bytes.len() / 16)
    }

    /// The memory of all keys and values.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn add(&mut self, page: Page) {
        let Ok(number) = u32::try_from(self.all.len()) else { return };
        self.bytes += page.bytes();
        self.places.reserve(page.entries.len());
        for (index, entry) in (0..).zip(&page.entries) {
            let place = Occupancy::At { page: number, index };
            match self.places.entry(entry.hash) {
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
        let Occupancy::At { page, index } = *place else { return Lookup::StruckOff };
        let page = &self.all[page as usize];
        if page.key(&page.entries[index as usize]) != key.as_bytes() {
            return Lookup::Absent;
        }
        *place = Occupancy::StruckOff;
        Lookup::Present(Value { page: Arc::clone(page), index })
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn pages(values: &[(&str, &[u8])]) -> Pages {
        let mut pages = Pages::default();
        // The second page continues the first.
        for half in values.chunks(2) {
            let mut page = Page::with_capacity(half.len(), pages.expected_bytes());
            for (key, value) in half {
                page.push(key, value);
            }
            pages.add(page);
        }
        pages
    }

    fn take(pages: &mut Pages, key: &str) -> Option<Vec<u8>> {
        match pages.take(key, hashes::hash(key)) {
            Lookup::Absent | Lookup::StruckOff => None,
            Lookup::Present(value) => Some(match value.form() {
                Form::Short(short) => short.to_snapshot().to_json().unwrap().into_bytes(),
                Form::Bytes(bytes) => bytes.to_vec(),
            }),
        }
    }

    #[test]
    fn what_has_a_short_form_and_what_has_none_is_found_once() {
        let short = Snapshot::empty(SystemTime::now()).to_json().unwrap();
        let spaced = short.replace(',', ", ");
        let all: [(&str, &[u8]); 4] =
            [("a", short.as_bytes()), ("b", spaced.as_bytes()), ("c", b""), ("d", b"\xff")];
        let mut pages = pages(&all);
        assert_eq!(pages.last_key().as_deref(), Some("d"));
        for (key, value) in all {
            assert_eq!(take(&mut pages, key).as_deref(), Some(value), "{key}");
            assert_eq!(take(&mut pages, key), None, "{key}");
        }
        assert_eq!(take(&mut pages, "e"), None);
    }

    #[test]
    fn another_key_of_the_same_hash_is_not_found() {
        let mut pages = pages(&[("a", b"value")]);
        assert!(matches!(pages.take("b", hashes::hash("a")), Lookup::Absent));
        pages.strike_off("a");
        assert_eq!(take(&mut pages, "a"), None);
    }
}
