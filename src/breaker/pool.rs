//! The cells that no breaker has.

use std::sync::{Mutex, PoisonError};

use super::cell::Cell;

/// Cells that are made at once, at most. A start may ask for a hundred thousand: one by one, each would be an
/// allocation of its own at an address of its own choice, and the memory would be asked of the system page by page.
const MOST_AT_ONCE: usize = 64;

static POOL: Mutex<Pool> = Mutex::new(Pool { vacant: Vec::new(), made: 0 });

struct Pool {
    vacant: Vec<&'static Cell>,
    /// How many there are, vacant or not.
    made: usize,
}

impl Pool {
    /// As many as there are already, so that a process with few breakers has few cells.
    fn make_more(&mut self) {
        let more = self.made.clamp(1, MOST_AT_ONCE);
        self.made += more;
        let cells: Vec<Cell> = (0..more).map(|_| Cell::vacant()).collect();
        // The last is taken first, and neighbours in memory are best taken in their order.
        self.vacant.extend(cells.leak().iter().rev());
    }
}

/// A vacant cell: one that was given back, or a new one.
pub(crate) fn take() -> &'static Cell {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(cell) = pool.vacant.pop() {
            return cell;
        }
        pool.make_more();
    }
}

/// Gives a cell back that has been vacated.
pub(crate) fn give_back(cell: &'static Cell) {
    POOL.lock().unwrap_or_else(PoisonError::into_inner).vacant.push(cell);
}

#[cfg(all(test, not(tower_breaker_loom)))]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_cell_is_given_away_twice() {
        let cells: Vec<_> = (0..10 * MOST_AT_ONCE).map(|_| take()).collect();
        let places: HashSet<_> =
            cells.iter().map(|cell| std::ptr::from_ref::<Cell>(cell)).collect();
        assert_eq!(places.len(), cells.len());
        cells.into_iter().for_each(give_back);
    }
}
