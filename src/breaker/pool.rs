//! The cells that no breaker has.

use std::sync::{Mutex, OnceLock, PoisonError};

use super::cell::Cell;

/// The largest number of cells that are made at once. A start may need a hundred thousand: one by
/// one, each would be an allocation at an address of its own, and the operating system would be
/// asked for memory page by page.
const MAX_BATCH: usize = 1024;

static POOL: Mutex<Pool> = Mutex::new(Pool { vacant: Vec::new(), made: 0, batches: Vec::new() });

struct Pool {
    vacant: Vec<&'static Cell>,
    /// How many cells exist, vacant or not.
    made: usize,
    /// All of them.
    batches: Vec<&'static [Cell]>,
}

impl Pool {
    /// Makes as many cells as exist already, so that a process with few breakers has few cells.
    fn grow(&mut self) {
        let more = self.made.clamp(1, MAX_BATCH);
        self.made += more;
        let cells: Vec<Cell> = (0..more).map(|_| Cell::vacant()).collect();
        let cells: &'static [Cell] = cells.leak();
        self.batches.push(cells);
        // Reversed, because the last is taken first: neighbours in memory are best used in order.
        self.vacant.extend(cells.iter().rev());
    }
}

/// Takes a vacant cell: a returned one, or a new one.
pub(crate) fn take() -> &'static Cell {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(cell) = pool.vacant.pop() {
            return cell;
        }
        pool.grow();
    }
}

/// A cell of no breaker, ever: it admits no call.
pub(crate) fn never_assigned() -> &'static Cell {
    static CELL: OnceLock<Cell> = OnceLock::new();
    CELL.get_or_init(Cell::vacant)
}

/// Begins to count the calls of every breaker that waits for its first one.
#[allow(dead_code, reason = "used where calls are counted")]
pub(crate) fn begin_meters() {
    let batches = POOL.lock().unwrap_or_else(PoisonError::into_inner).batches.clone();
    batches.into_iter().flatten().for_each(Cell::begin_meter);
}

/// Returns a cell that has been vacated.
pub(crate) fn give_back(cell: &'static Cell) {
    POOL.lock().unwrap_or_else(PoisonError::into_inner).vacant.push(cell);
}

#[cfg(all(test, not(tower_breaker_loom)))]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_pool_never_hands_out_a_cell_twice() {
        let cells: Vec<_> = (0..10 * MAX_BATCH).map(|_| take()).collect();
        let addresses: HashSet<_> =
            cells.iter().map(|cell| std::ptr::from_ref::<Cell>(cell)).collect();
        assert_eq!(addresses.len(), cells.len());
        cells.into_iter().for_each(give_back);
    }
}
