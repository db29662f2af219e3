//! The lines of a thread for slots that its table does not have: in blocks, of which it has those
//! that it uses.
//!
//! To find one takes a little longer than in a table, and much less time than a counter that all
//! threads share.

use std::{cell::RefCell, collections::BTreeMap, sync::Mutex};

use super::line::{ENDS, Line, MAX_OWN};
use crate::{outcome::CallEnd, sync::std_lock};

/// How many lines a block has: 1 KiB.
const BLOCK: usize = 16;

/// How many slots have such lines, besides those of the tables. What is beyond is counted on the
/// shared line.
pub(super) const MAX_FAR: usize = (1 << 16) - MAX_OWN;

type Block = [Line; BLOCK];

/// The number of a slot's block, and its line there. `None` if it is not one of these slots.
fn place(slot: u32) -> Option<(usize, usize)> {
    let number = (slot as usize).checked_sub(MAX_OWN).filter(|number| *number < MAX_FAR)?;
    Some((number / BLOCK, number % BLOCK))
}

thread_local! {
    /// The thread's blocks, by their numbers.
    static OWN: RefCell<Own> = const { RefCell::new(Own(Vec::new())) };
}

/// Gives the blocks back when the thread ends.
struct Own(Vec<Option<&'static Block>>);

impl Drop for Own {
    fn drop(&mut self) {
        let mut blocks = std_lock(&BLOCKS);
        for (number, block) in self.0.drain(..).enumerate() {
            if let Some(block) = block {
                blocks.retire(number, block);
            }
        }
    }
}

/// Counts the end of a call of this slot, unless it is not one of these slots, or the thread has no
/// line for it, and `may_have_line` denies it one.
pub(super) fn count(slot: u32, end: CallEnd, may_have_line: impl FnOnce() -> bool) -> bool {
    let Some((number, line)) = place(slot) else { return false };
    let known = |own: &RefCell<Own>| own.borrow().0.get(number).copied().flatten();
    // The thread may be about to end.
    let Ok(known) = OWN.try_with(known) else { return false };
    let block = known.or_else(|| {
        let block = may_have_line().then(|| std_lock(&BLOCKS).take(number))?;
        OWN.with(|own| {
            let blocks = &mut own.borrow_mut().0;
            if blocks.len() <= number {
                blocks.resize(number + 1, None);
            }
            blocks[number] = Some(block);
        });
        Some(block)
    });
    if let Some(block) = block {
        block[line].add_alone(end);
    }
    block.is_some()
}

static BLOCKS: Mutex<Blocks> = Mutex::new(Blocks { live: BTreeMap::new(), vacant: Vec::new() });

/// The blocks of all threads.
struct Blocks {
    live: BTreeMap<usize, Vec<&'static Block>>,
    /// Those without a thread, all at zero.
    vacant: Vec<&'static Block>,
}

impl Blocks {
    fn take(&mut self, number: usize) -> &'static Block {
        let new = || -> &'static Block { Box::leak(Box::new([const { Line::new() }; BLOCK])) };
        let block = self.vacant.pop().unwrap_or_else(new);
        self.live.entry(number).or_default().push(block);
        block
    }

    /// Takes back a block of the thread that calls. What it has counted goes to the shared lines.
    fn retire(&mut self, number: usize, block: &'static Block) {
        let Some(live) = self.live.get_mut(&number) else { return };
        live.retain(|live| !std::ptr::eq(*live, block));
        if live.is_empty() {
            self.live.remove(&number);
        }
        let first = u32::try_from(MAX_OWN + number * BLOCK).unwrap_or(u32::MAX);
        (first..).zip(block).for_each(|(slot, line)| line.move_to_shared(slot));
        self.vacant.push(block);
    }
}

/// Adds what all threads have counted on this slot's lines, and what `read` returns. Meanwhile, no
/// count moves from a line to the shared one.
pub(super) fn add_to(slot: u32, read: impl FnOnce() -> [u64; ENDS]) -> [u64; ENDS] {
    let Some((number, line)) = place(slot) else { return read() };
    let blocks = std_lock(&BLOCKS);
    let mut sum = read();
    for block in blocks.live.get(&number).into_iter().flatten() {
        for (sum, count) in sum.iter_mut().zip(block[line].read()) {
            *sum = sum.wrapping_add(count);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::{
        super::{line::shared, tests::alone, total},
        *,
    };

    // Slots that no meter and no other unit test has.
    const FIRST: u32 = 60_000;

    fn count(slot: u32, end: CallEnd) {
        super::super::count(slot, end, || true);
    }

    /// The number of blocks that there are.
    fn blocks() -> usize {
        let blocks = std_lock(&BLOCKS);
        blocks.live.values().map(Vec::len).sum::<usize>() + blocks.vacant.len()
    }

    #[test]
    fn threads_count_on_lines_of_their_own_which_serve_the_next_threads() {
        let _alone = alone();
        let count_all = || {
            for slot in [FIRST, FIRST + 1, FIRST + 1000] {
                count(slot, CallEnd::Success);
            }
            let block = OWN.with(|own| own.borrow().0[place(FIRST).unwrap().0].unwrap());
            let own = block[place(FIRST).unwrap().1].read()[0];
            (own, shared(FIRST).read()[0], total(FIRST)[0])
        };
        let run = || thread::spawn(count_all).join().unwrap();
        assert_eq!(run(), (1, 0, 1));
        let before = blocks();
        for thread in 1..10 {
            assert_eq!(run(), (1, thread, thread + 1));
        }
        assert_eq!(blocks(), before);
        assert_eq!([FIRST + 1, FIRST + 1000].map(|slot| total(slot)[0]), [10, 10]);
    }

    #[test]
    fn several_threads_count_on_one_slot() {
        const SLOT: u32 = FIRST + 2000;
        let _alone = alone();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| count(SLOT, CallEnd::Rejected)));
            }
        });
        assert_eq!(total(SLOT)[CallEnd::Rejected as usize], 4000);
    }

    #[test]
    fn a_thread_that_may_have_no_line_asks_each_time() {
        const SLOT: u32 = FIRST + 3000;
        let _alone = alone();
        thread::spawn(|| {
            let mut asked = 0;
            for may_have_line in [false, false, true, true] {
                super::super::count(SLOT, CallEnd::Success, || {
                    asked += 1;
                    may_have_line
                });
            }
            assert_eq!((asked, shared(SLOT).read()[0], total(SLOT)[0]), (3, 2, 4));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn the_last_slots_with_lines_are_those_below_65536() {
        assert_eq!(place(1023), None);
        assert_eq!(place(1024), Some((0, 0)));
        assert_eq!(place(65_535), Some((MAX_FAR / BLOCK - 1, BLOCK - 1)));
        assert_eq!(place(65_536), None);
        assert_eq!(size_of::<Block>(), 1 << 10);
    }
}
