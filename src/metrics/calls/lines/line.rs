//! The counters of one slot, and those that all threads share.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::outcome::CallEnd;

/// How many ways there are in which a call can end.
pub(in crate::metrics::calls) const ENDS: usize = 7;

/// How many slots have lines in the threads' tables.
pub(super) const MAX_OWN: usize = 1024;

/// The counts of one slot, as far as one thread, or all threads together, have counted.
#[repr(align(64))]
pub(super) struct Line([AtomicU64; ENDS]);

impl Line {
    pub(super) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; ENDS])
    }

    /// Counts on the thread's own line.
    #[inline]
    pub(super) fn add_alone(&self, end: CallEnd) {
        let count = &self.0[end as usize];
        count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
    }

    pub(super) fn add_shared(&self, counts: &[u64; ENDS]) {
        for (count, more) in self.0.iter().zip(counts) {
            if *more != 0 {
                count.fetch_add(*more, Relaxed);
            }
        }
    }

    pub(super) fn read(&self) -> [u64; ENDS] {
        self.0.each_ref().map(|count| count.load(Relaxed))
    }

    /// Takes out what the thread that calls has counted, to the shared line of the slot.
    pub(super) fn move_to_shared(&self, slot: u32) {
        let counts = self.read();
        if counts != [0; ENDS] {
            shared(slot).add_shared(&counts);
            self.0.iter().for_each(|count| count.store(0, Relaxed));
        }
    }
}

/// The size of the first block.
const FIRST: usize = 16;

/// The shared line of a slot. The lines are in blocks, each as large as all before it.
pub(super) fn shared(slot: u32) -> &'static Line {
    static BLOCKS: [OnceLock<Box<[Line]>>; 28] = [const { OnceLock::new() }; 28];
    let number = slot as usize + FIRST;
    let block = (number / FIRST).ilog2() as usize;
    let begin = FIRST << block;
    let lines = BLOCKS[block].get_or_init(|| (0..begin).map(|_| Line::new()).collect());
    &lines[number - begin]
}
