//! A slab: each value at an index that identifies it, together with a generation.
//!
//! A start may bring a hundred thousand breakers one after the other. In a map, each would cost a
//! hash and a place in cold memory, and the map would be rehashed as it grows. Here a value stays
//! where it is.

/// The values in a block of memory.
pub(super) const BLOCK: usize = 1024;

/// Identifies a value of a [`Slab`], also after the value was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EntryId {
    index: usize,
    /// The number of values that had this index before.
    generation: u64,
}

pub(super) struct Slab<T> {
    /// All but the last are full.
    blocks: Vec<Vec<Place<T>>>,
    vacant: Vec<usize>,
    len: usize,
}

struct Place<T> {
    generation: u64,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { blocks: Vec::new(), vacant: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    /// Inserts the value that `make` returns for its id.
    pub(super) fn insert_with(&mut self, make: impl FnOnce(EntryId) -> T) -> &T {
        let index = self.vacant.pop().unwrap_or_else(|| self.add_place());
        self.len += 1;
        let place = &mut self.blocks[index / BLOCK][index % BLOCK];
        place.value.insert(make(EntryId { index, generation: place.generation }))
    }

    /// Adds a vacant place, and returns its index.
    fn add_place(&mut self) -> usize {
        let blocks = self.blocks.len();
        if let Some(block) = self.blocks.last_mut().filter(|block| block.len() < BLOCK) {
            block.push(Place::vacant());
            return (blocks - 1) * BLOCK + block.len() - 1;
        }
        // The first grows: most processes have a few values.
        let mut block = Vec::with_capacity(if blocks == 0 { 1 } else { BLOCK });
        block.push(Place::vacant());
        self.blocks.push(block);
        blocks * BLOCK
    }

    pub(super) fn remove(&mut self, id: EntryId) -> Option<T> {
        let place = self.place_mut(id)?;
        let value = place.value.take()?;
        place.generation += 1;
        self.vacant.push(id.index);
        self.len -= 1;
        Some(value)
    }

    pub(super) fn get(&self, id: EntryId) -> Option<&T> {
        let place = self.blocks.get(id.index / BLOCK)?.get(id.index % BLOCK)?;
        place.value.as_ref().filter(|_| place.generation == id.generation)
    }

    pub(super) fn get_mut(&mut self, id: EntryId) -> Option<&mut T> {
        self.place_mut(id)?.value.as_mut()
    }

    fn place_mut(&mut self, id: EntryId) -> Option<&mut Place<T>> {
        let place = self.blocks.get_mut(id.index / BLOCK)?.get_mut(id.index % BLOCK)?;
        (place.generation == id.generation).then_some(place)
    }

    /// The values at up to `count` indices from `first` on. `None` past the end.
    pub(super) fn part(
        &self,
        first: usize,
        count: usize,
    ) -> Option<impl Iterator<Item = (EntryId, &T)>> {
        let block = self.blocks.get(first / BLOCK)?;
        let rest = block.get(first % BLOCK..).filter(|rest| !rest.is_empty())?;
        let later = self.blocks[first / BLOCK + 1..].iter().flatten();
        Some((first..).zip(rest.iter().chain(later).take(count)).filter_map(|(index, place)| {
            let id = EntryId { index, generation: place.generation };
            Some((id, place.value.as_ref()?))
        }))
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<T> Place<T> {
    const fn vacant() -> Self {
        Self { generation: 0, value: None }
    }
}
