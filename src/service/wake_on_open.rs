//! Wakes a task that waits for the inner service when the circuit opens.

use std::task::Context;

use crate::breaker::cell::Cell;

/// The registration of one task; removed when dropped.
///
/// It must be dropped before the breaker's handle. With the last handle the cell may go to another
/// breaker, and this registration would be one of that breaker's.
pub(super) struct WakeOnOpen {
    cell: &'static Cell,
    key: Option<u64>,
}

impl WakeOnOpen {
    pub(super) fn new(cell: &'static Cell) -> Self {
        Self { cell, key: None }
    }

    #[inline]
    pub(super) fn cell(&self) -> &'static Cell {
        self.cell
    }

    /// Registers the task. Returns `false` if the circuit already rejects calls.
    pub(super) fn register(&mut self, cx: &Context<'_>) -> bool {
        self.cell.register_rejection_waker(&mut self.key, cx.waker())
    }

    /// Whether the task is registered.
    #[inline]
    pub(super) fn is_registered(&self) -> bool {
        self.key.is_some()
    }

    #[cold]
    pub(super) fn clear(&mut self) {
        if let Some(key) = self.key.take() {
            self.cell.remove_rejection_waker(key);
        }
    }
}

impl Drop for WakeOnOpen {
    fn drop(&mut self) {
        if self.is_registered() {
            self.clear();
        }
    }
}
