//! What a breaker tells those above it, and in which order.

use std::{collections::VecDeque, sync::Arc};

use super::{cell::Cell, machine::Step, wait_queue::WaitQueue, waker_set::WakerSet};
use crate::{clock::Reading, sync::lock};

/// What a breaker tells those above it.
pub(crate) trait Observer: Send + Sync {
    /// The state (`urgent`) or only the counts have changed since the last snapshot. Called
    /// under the cell's lock: mark it, and come back for the snapshot later.
    fn changed(&self, urgent: bool);

    /// Transitions happened, in this order. Called under the cell's lock, right before
    /// [`changed`](Self::changed) is for them: note it, and no more.
    fn note(&self, steps: &[Step], now: Reading);

    /// A transition happened. Called without the lock, one call at a time, in order.
    fn stepped(&self, step: &Step, now: Reading);
}

/// What is to be said to whom, once the lock is free.
#[derive(Default)]
pub(super) struct Notifier {
    /// Those who wait for the circuit to open, so that they can be turned away.
    pub(super) waiters: WakerSet,
    /// Those who wait for it to admit calls.
    pub(super) queue: WaitQueue,
    /// Steps that have not been told yet, and whether somebody is at it.
    pub(super) pending: VecDeque<(Step, Reading)>,
    pub(super) dispatching: bool,
}

impl Cell {
    /// Tells the steps in their order. One thread at a time does; others leave theirs to it.
    pub(super) fn tell(&self, observer: &Arc<dyn Observer>) {
        let dispatching = Dispatch { cell: self, observer };
        while let Some((step, now)) = dispatching.next() {
            observer.stepped(&step, now);
        }
        std::mem::forget(dispatching);
    }
}

/// A thread's turn to tell. While it tells, the breaker may go (a permit keeps none alive), and
/// the cell be another's, with a turn of its own.
struct Dispatch<'a> {
    cell: &'a Cell,
    observer: &'a Arc<dyn Observer>,
}

impl Dispatch<'_> {
    fn next(&self) -> Option<(Step, Reading)> {
        let mut core = lock(&self.cell.core);
        if !core.is_of(&**self.observer) {
            return None;
        }
        let notifier = core.notifier();
        let next = notifier.pending.pop_front();
        if next.is_none() {
            // There is seldom more than one, and the room for some would be as large as the rest of the breaker.
            notifier.pending = VecDeque::new();
        }
        // Under the same lock: who steps from now on tells it.
        notifier.dispatching = next.is_some();
        next
    }
}

/// Hands the dispatching on when a listener panics.
impl Drop for Dispatch<'_> {
    fn drop(&mut self) {
        let mut core = lock(&self.cell.core);
        if core.is_of(&**self.observer) {
            core.notifier().dispatching = false;
        }
    }
}
