//! A slab: each value at an index that identifies it, together with a generation.
//!
//! A start may bring a hundred thousand breakers one after the other. In a map, each would cost a
//! hash and a place in cold memory, and the map would be rehashed as it grows.

/// Identifies a value of a [`Slab`], also after the value was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EntryId {
    index: usize,
    /// The number of values that had this index before.
    generation: u64,
}

pub(super) struct Slab<T> {
    places: Vec<Place<T>>,
    vacant: Vec<usize>,
}

struct Place<T> {
    generation: u64,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), vacant: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Inserts the value that `make` returns for its id.
    pub(super) fn insert_with(&mut self, make: impl FnOnce(EntryId) -> T) -> &T {
        let index = self.vacant.pop().unwrap_or(self.places.len());
        if index == self.places.len() {
            self.places.push(Place { generation: 0, value: None });
        }
        let place = &mut self.places[index];
        place.value.insert(make(EntryId { index, generation: place.generation }))
    }

    pub(super) fn remove(&mut self, id: EntryId) -> Option<T> {
        let place = self.place_mut(id)?;
        let value = place.value.take()?;
        place.generation += 1;
        self.vacant.push(id.index);
        Some(value)
    }

    pub(super) fn get(&self, id: EntryId) -> Option<&T> {
        let place = self.places.get(id.index).filter(|place| place.generation == id.generation)?;
        place.value.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: EntryId) -> Option<&mut T> {
        self.place_mut(id)?.value.as_mut()
    }

    fn place_mut(&mut self, id: EntryId) -> Option<&mut Place<T>> {
        self.places.get_mut(id.index).filter(|place| place.generation == id.generation)
    }

    /// The values at up to `count` indices from `first` on. `None` past the end.
    pub(super) fn part(
        &self,
        first: usize,
        count: usize,
    ) -> Option<impl Iterator<Item = (EntryId, &T)>> {
        let rest = self.places.get(first..).filter(|rest| !rest.is_empty())?;
        Some((first..).zip(rest.iter().take(count)).filter_map(|(index, place)| {
            let id = EntryId { index, generation: place.generation };
            Some((id, place.value.as_ref()?))
        }))
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.vacant.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
