//! Every breaker on a store, each at a place that it knows itself.
//!
//! A map by address would do for a few. A start may bring a hundred thousand, one right after the other: then each
//! costs a hash and a place in memory that nobody has touched lately, and the map is laid out anew as it grows.

use std::sync::Arc;

use super::entry::Entry;

#[derive(Default)]
pub(super) struct Roll {
    places: Vec<Option<Arc<Entry>>>,
    vacant: Vec<usize>,
}

impl Roll {
    pub(super) fn insert(&mut self, entry: &Arc<Entry>) {
        let place = self.vacant.pop().unwrap_or(self.places.len());
        entry.set_place(place);
        if place == self.places.len() {
            self.places.push(None);
        }
        self.places[place] = Some(Arc::clone(entry));
    }

    /// False if it was not there.
    pub(super) fn remove(&mut self, entry: &Arc<Entry>) -> bool {
        let is_there = self.contains(entry);
        if is_there {
            self.places[entry.place()] = None;
            self.vacant.push(entry.place());
        }
        is_there
    }

    pub(super) fn contains(&self, entry: &Arc<Entry>) -> bool {
        // One that was removed still knows the place that it had, which may be another's by now.
        let there = self.places.get(entry.place()).and_then(Option::as_ref);
        there.is_some_and(|there| Arc::ptr_eq(there, entry))
    }

    /// Those at this many places, from this one on. `None` past the end.
    pub(super) fn part(
        &self,
        from: usize,
        places: usize,
    ) -> Option<impl Iterator<Item = &Arc<Entry>>> {
        let rest = self.places.get(from..).filter(|rest| !rest.is_empty())?;
        Some(rest.iter().take(places).flatten())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.places.iter().flatten()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.vacant.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
