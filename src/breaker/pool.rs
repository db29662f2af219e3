//! The cells that no breaker has.

use std::sync::{Mutex, PoisonError};

use super::cell::Cell;

static VACANT: Mutex<Vec<&'static Cell>> = Mutex::new(Vec::new());

/// A vacant cell: one that was given back, or a new one.
pub(crate) fn take() -> &'static Cell {
    let reused = VACANT.lock().unwrap_or_else(PoisonError::into_inner).pop();
    reused.unwrap_or_else(|| Box::leak(Box::new(Cell::vacant())))
}

/// Gives a cell back that has been vacated.
pub(crate) fn give_back(cell: &'static Cell) {
    VACANT.lock().unwrap_or_else(PoisonError::into_inner).push(cell);
}
