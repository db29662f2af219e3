//! Delivers events to the observer, in order and without the lock.

use std::{collections::VecDeque, sync::Arc};

use super::{core::Core, notify::Observer};
use crate::{
    event::Event,
    sync::{Mutex, lock},
};

/// Delivers the pending events. One thread at a time does this; the events that other threads
/// cause meanwhile are delivered by it too.
pub(super) fn dispatch(core: &Mutex<Core>, observer: &Arc<dyn Observer>) {
    let dispatch = Dispatch { core, observer: &**observer };
    while let Some(event) = dispatch.next() {
        observer.on_event(event);
    }
    std::mem::forget(dispatch);
}

/// A thread's turn to dispatch. Meanwhile the breaker may be dropped (a permit keeps none alive)
/// and its cell leased to another one, which dispatches on its own.
struct Dispatch<'a> {
    core: &'a Mutex<Core>,
    observer: &'a dyn Observer,
}

impl Dispatch<'_> {
    fn next(&self) -> Option<Event> {
        let mut core = lock(self.core);
        if !core.is_owned_by(self.observer) {
            return None;
        }
        let notifier = core.notifier();
        let next = notifier.pending.pop_front();
        // Under the same lock: a thread that causes an event from now on dispatches it.
        notifier.dispatching = next.is_some();
        if next.is_none() {
            // There is seldom more than one, and the buffer is as large as the rest of a breaker.
            notifier.pending = VecDeque::new();
            core.drop_unused_notifier();
        }
        next
    }
}

/// Lets another thread take over if the observer panics, against its contract.
impl Drop for Dispatch<'_> {
    fn drop(&mut self) {
        let mut core = lock(self.core);
        if core.is_owned_by(self.observer) {
            core.notifier().dispatching = false;
        }
    }
}
