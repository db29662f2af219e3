//! Counters of calls that one thread alone writes.
//!
//! Each meter has a slot, and each thread a table of lines, one for each slot: a cache line with a
//! counter for each way in which a call can end. To count is to load, add and store: no other
//! thread writes there. Besides, each slot has a shared line. It takes what a thread has counted
//! when the thread ends, and it counts with read-modify-writes where a thread has no line of its
//! own.
//!
//! # Memory
//!
//! A line has 64 bytes. A thread's table has as many as the highest slot that it has used, rounded
//! up to a power of two, and at most [`MAX_OWN`]: 64 KiB. Slots are given out from the lowest. A
//! table whose thread has ended, or has got a larger one, serves the next thread. So the tables of
//! a process take at most 64 KiB times the largest number of threads that have made calls at one
//! time, and less for fewer meters. For [further slots](far), a thread has blocks of lines.

mod far;
mod line;

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::BinaryHeap,
    sync::Mutex,
};

pub(super) use self::line::ENDS;
use self::line::{Line, MAX_OWN, shared};
use crate::{outcome::CallEnd, sync::std_lock};

/// The smallest table.
const MIN_OWN: usize = 16;

/// Tables have this many sizes.
const SIZES: usize = (MAX_OWN / MIN_OWN).ilog2() as usize + 1;

/// The slot of what is not counted.
pub(super) const NO_SLOT: u32 = u32::MAX;

thread_local! {
    /// The thread's table; empty until it has one, and again when the thread ends.
    static OWN: Cell<&'static [Line]> = const { Cell::new(&[]) };

    /// Gives the table back when the thread ends.
    static OWNER: RefCell<Option<Owner>> = const { RefCell::new(None) };
}

/// Counts the end of a call of this slot, if the thread has a line of its own for it.
#[inline]
pub(super) fn count_on_own(slot: u32, end: CallEnd) -> bool {
    let line = OWN.get().get(slot as usize);
    if let Some(line) = line {
        line.add_alone(end);
    }
    line.is_some()
}

/// Counts the end of a call of this slot. The thread gets a line of its own for it, if it can have
/// one, and `may_have_line` says so.
pub(super) fn count(slot: u32, end: CallEnd, may_have_line: impl FnOnce() -> bool) {
    let is_counted = if slot as usize >= MAX_OWN {
        far::count(slot, end, may_have_line)
    } else {
        let get_line = || may_have_line() && OWNER.try_with(|owner| grow(owner, slot)).is_ok();
        (OWN.get().len() > slot as usize || get_line()) && count_on_own(slot, end)
    };
    if !is_counted {
        let mut counts = [0; ENDS];
        counts[end as usize] = 1;
        shared(slot).add_shared(&counts);
    }
}

/// Gives the thread a table that has a line for this slot.
fn grow(owner: &RefCell<Option<Owner>>, slot: u32) {
    let size = (slot as usize + 1).next_power_of_two().max(MIN_OWN);
    let mut tables = std_lock(&TABLES);
    tables.retire(OWN.take());
    let lines = tables.take(size);
    drop(tables);
    OWN.set(lines);
    owner.borrow_mut().get_or_insert_with(|| Owner);
}

/// What a thread has as long as it has a table.
struct Owner;

impl Drop for Owner {
    fn drop(&mut self) {
        std_lock(&TABLES).retire(OWN.take());
    }
}

static TABLES: Mutex<Tables> =
    Mutex::new(Tables { live: Vec::new(), vacant: [const { Vec::new() }; SIZES] });

/// The tables of all threads.
struct Tables {
    live: Vec<&'static [Line]>,
    /// Those without a thread, all at zero, by size.
    vacant: [Vec<&'static [Line]>; SIZES],
}

impl Tables {
    fn take(&mut self, size: usize) -> &'static [Line] {
        let vacant = self.vacant[size_index(size)].pop();
        let lines = vacant.unwrap_or_else(|| {
            let lines: Vec<Line> = (0..size).map(|_| Line::new()).collect();
            lines.leak()
        });
        self.live.push(lines);
        lines
    }

    /// Takes back the table of the thread that calls. What it has counted goes to the shared lines.
    fn retire(&mut self, lines: &'static [Line]) {
        let is_it = |live: &&[Line]| std::ptr::eq(*live, lines);
        let Some(index) = self.live.iter().position(is_it) else { return };
        self.live.swap_remove(index);
        for (slot, line) in (0..).zip(lines) {
            line.move_to_shared(slot);
        }
        self.vacant[size_index(lines.len())].push(lines);
    }
}

fn size_index(size: usize) -> usize {
    (size / MIN_OWN).ilog2() as usize
}

/// What all threads have counted on this slot since the process began, for each end of a call.
///
/// It never goes back, and wraps around.
pub(super) fn total(slot: u32) -> [u64; ENDS] {
    // While the lock is held, no count moves from a table to the shared line.
    let tables = std_lock(&TABLES);
    let mut sum = far::add_to(slot, || shared(slot).read());
    for line in tables.live.iter().filter_map(|lines| lines.get(slot as usize)) {
        for (sum, count) in sum.iter_mut().zip(line.read()) {
            *sum = sum.wrapping_add(count);
        }
    }
    sum
}

/// The slots that meters have.
#[derive(Default)]
pub(super) struct Slots {
    vacant: BinaryHeap<Reverse<u32>>,
    made: u32,
}

impl Slots {
    /// The lowest that is vacant.
    pub(super) fn take(&mut self) -> u32 {
        self.vacant.pop().map_or_else(
            || {
                self.made += 1;
                self.made - 1
            },
            |Reverse(slot)| slot,
        )
    }

    pub(super) fn give_back(&mut self, slot: u32) {
        self.vacant.push(Reverse(slot));
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::MutexGuard, thread};

    use super::*;

    /// The tests share the tables and the blocks, and look at all of them.
    pub(super) fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        std_lock(&ALONE)
    }

    fn count(slot: u32, end: CallEnd) {
        super::count(slot, end, || true);
    }

    /// Slots that no meter of another unit test has.
    const SLOTS: u32 = 100_000;

    /// The memory of all tables, in lines.
    fn lines_of_tables() -> usize {
        let tables = std_lock(&TABLES);
        tables.live.iter().chain(tables.vacant.iter().flatten()).map(|lines| lines.len()).sum()
    }

    #[test]
    fn the_tables_of_threads_that_have_ended_serve_the_next_ones() {
        let _alone = alone();
        let count_to = |slot: u32| {
            thread::spawn(move || {
                count(3, CallEnd::Success);
                count(slot, CallEnd::Success);
            })
            .join()
            .unwrap();
        };
        let before = total(3)[0];
        count_to(900);
        let lines = lines_of_tables();
        (0..100).for_each(|_| count_to(900));
        assert_eq!(lines_of_tables(), lines);
        assert_eq!(total(3)[0], before + 101);
    }

    #[test]
    fn a_thread_that_may_have_no_line_counts_on_the_shared_one_and_asks_each_time() {
        let _alone = alone();
        thread::spawn(|| {
            let before = total(5)[0];
            let mut asked = 0;
            for may_have_line in [false, false, true, true] {
                super::count(5, CallEnd::Success, || {
                    asked += 1;
                    may_have_line
                });
                assert_eq!(OWN.get().is_empty(), !may_have_line);
            }
            assert_eq!((asked, total(5)[0] - before), (3, 4));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_table_has_at_most_64_kib() {
        let _alone = alone();
        assert_eq!(size_of::<Line>() * MAX_OWN, 64 << 10);
        let own = thread::spawn(|| {
            (0..2000).chain([SLOTS, SLOTS + 1]).for_each(|slot| {
                count(slot, CallEnd::Ignored);
            });
            OWN.get().len()
        });
        assert_eq!(own.join().unwrap(), MAX_OWN);
        assert_eq!(total(SLOTS)[CallEnd::Ignored as usize], 1);
    }

    #[test]
    fn a_count_moves_with_its_thread_to_a_larger_table_and_to_the_shared_line() {
        let _alone = alone();
        thread::spawn(|| {
            let before = [0, 20, 500].map(|slot| total(slot)[0]);
            for _ in 0..3 {
                for slot in [0, 20, 500] {
                    count(slot, CallEnd::Success);
                }
            }
            assert_eq!([0, 20, 500].map(|slot| total(slot)[0]), before.map(|count| count + 3));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn slots_are_given_out_from_the_lowest() {
        let mut slots = Slots::default();
        assert_eq!([slots.take(), slots.take(), slots.take()], [0, 1, 2]);
        slots.give_back(2);
        slots.give_back(0);
        assert_eq!([slots.take(), slots.take(), slots.take()], [0, 2, 3]);
    }
}
