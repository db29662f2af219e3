//! A breaker's end of its fleet.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicU64, Ordering},
    mpsc,
};
use std::time::Duration;

use smol_str::SmolStr;

use super::{
    entry::Entry,
    health::FleetHealth,
    message::{Message, SharedMarker},
    threads::Threads,
};
use crate::breaker::{cell::Cell, notify::Observer};

/// The longest that the construction of a breaker waits for the fleet's state.
const ATTACH_WAIT: Duration = Duration::from_secs(1);

/// Ends when the breaker does.
pub(crate) struct Membership {
    threads: Arc<Threads>,
    id: u64,
}

impl Membership {
    /// Shares a breaker, without its state: see [`attach`](Self::attach).
    pub(crate) fn new(threads: Arc<Threads>) -> (Self, SharedMarker) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let marker = SharedMarker {
            id,
            is_marked: Arc::new(AtomicBool::new(false)),
            sender: threads.sender(),
        };
        (Self { threads, id }, marker)
    }

    /// Waits until the breaker has the state of the fleet, but not for long.
    pub(crate) fn attach(
        &self,
        name: SmolStr,
        cell: &'static Cell,
        observer: &Arc<dyn Observer>,
        marker: &SharedMarker,
    ) {
        cell.with_shared(&**observer, |machine, _, _, _| machine.share());
        let observer: Weak<dyn Observer> = Arc::downgrade(observer);
        let is_marked = Arc::clone(&marker.is_marked);
        let entry = Box::new(Entry::new(self.id, name, cell, observer, is_marked));
        let (sender, receiver) = mpsc::channel();
        self.threads.start();
        if self.threads.send(Message::Attach(entry, sender)) {
            // If it is late, the breaker begins alone.
            let _ = receiver.recv_timeout(ATTACH_WAIT);
        }
    }

    pub(crate) fn health(&self) -> FleetHealth {
        self.threads.health()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.threads.send(Message::Detach(self.id));
    }
}
