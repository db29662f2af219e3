//! Who is notified of a change, and in which order.

use std::{collections::VecDeque, sync::Arc};

use super::{
    effects::{Change, EndCounts},
    open_slot::OpenSlot,
    wait_queue::WaitQueue,
    waker_set::WakerSet,
};
use crate::{
    event::{Event, Transition},
    metrics::MeterSlot,
};

/// Receives what happens to a breaker. It also identifies the breaker: a cell passes from one to
/// the next.
pub(crate) trait Observer: Send + Sync {
    /// The breaker's name.
    fn name(&self) -> Arc<str>;

    /// A snapshot would differ from the last one. Called with the lock held: note it, and take
    /// the snapshot later.
    fn on_change(&self, change: Change);

    /// These transitions happened, in this order. Called with the lock held, immediately before
    /// [`on_change`](Self::on_change): note them, and no more.
    fn record_transitions(&self, transitions: &[Transition]);

    /// What metrics count of a call that has ended. Called with the lock held.
    fn count(&self, counts: EndCounts);

    /// Begins to count calls for metrics, if that has waited for the first one. Called with the
    /// lock held.
    fn begin_meter(self: Arc<Self>) -> MeterSlot;

    /// An event happened. Called without the lock, one call at a time, in order. It must not panic:
    /// a call may be waiting for its answer, or the thread unwinding.
    fn on_event(&self, event: Event);
}

/// What to do once the lock is released, and what else few breakers need.
#[derive(Default)]
pub(super) struct Notifier {
    /// Tasks that wait for the circuit to reject calls, so that they can return a rejection.
    pub(super) rejection_wakers: WakerSet,
    /// Tasks that wait for the circuit to admit calls.
    pub(super) wait_queue: WaitQueue,
    /// Events that have not been dispatched yet.
    pub(super) pending: VecDeque<Event>,
    /// Whether a thread is dispatching them.
    pub(super) dispatching: bool,
    /// Where a group bounds how many of its circuits are open.
    pub(super) open_slot: Option<OpenSlot>,
}

impl Notifier {
    /// Whether it holds nothing, and no task has waited here.
    pub(super) fn is_unused(&self) -> bool {
        let Self { rejection_wakers, wait_queue, pending, dispatching, open_slot } = self;
        let had_waiters = !rejection_wakers.is_unused() || !wait_queue.is_unused();
        !had_waiters && pending.is_empty() && !dispatching && open_slot.is_none()
    }
}
