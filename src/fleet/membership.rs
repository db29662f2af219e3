//! A breaker's end of its fleet.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use smol_str::SmolStr;

use super::{
    counts::FleetCounts,
    entry::Entry,
    health::{BreakerHealth, FleetHealth},
    message::{Marker, Message},
    replica::{FleetError, FleetView},
    threads::Threads,
};
use crate::breaker::{cell::Cell, notify::Observer};

/// The longest that the construction of a breaker waits for the fleet's state.
const ATTACH_WAIT: Duration = Duration::from_secs(1);

/// Ends when the breaker does.
pub(crate) struct Membership {
    threads: Arc<Threads>,
    id: u64,
    health: Arc<BreakerHealth>,
}

impl Membership {
    /// Shares a breaker, and waits until it has the state of the fleet, but not for long.
    pub(crate) fn begin(
        threads: Arc<Threads>,
        name: SmolStr,
        cell: &'static Cell,
        observer: &Arc<dyn Observer>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let is_marked = Arc::new(AtomicBool::new(false));
        let (sender, home) = (threads.sender(), threads.home());
        let marker = Marker { id, is_marked: Arc::clone(&is_marked), sender, home };
        cell.with_shared(&**observer, |machine, _, _, _| {
            machine.share(Box::new(marker), threads.counts() == FleetCounts::Shared);
        });
        let health = Arc::default();
        let weak = Arc::downgrade(observer);
        let entry = Entry::new(id, name, cell, weak, is_marked, Arc::clone(&health));
        let (sender, receiver) = mpsc::channel();
        threads.start();
        if threads.send(Message::Attach(Box::new(entry), sender)) {
            // If it is late, the breaker begins alone.
            let _ = receiver.recv_timeout(ATTACH_WAIT);
        }
        Self { threads, id, health }
    }

    pub(crate) fn health(&self) -> FleetHealth {
        if let Some(forked) = self.threads.forked_health() {
            return forked;
        }
        self.threads.start();
        self.health.get().unwrap_or_else(|| self.threads.health())
    }

    pub(crate) fn counts(&self) -> FleetCounts {
        self.threads.counts()
    }

    pub(crate) async fn views(
        &self,
        name: SmolStr,
        wait: Duration,
    ) -> Result<Vec<FleetView>, FleetError> {
        self.threads.views(name, wait).await
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.threads.send(Message::Detach(self.id));
    }
}
