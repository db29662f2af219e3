//! A breaker's end of its fleet.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use smol_str::SmolStr;

use super::{
    attached::{Attached, Attaching},
    counts::FleetCounts,
    entry::FleetEntry,
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
    attached: Arc<Attached>,
    /// It may leave while another thread is about to share it.
    #[cfg(feature = "keyed")]
    has_left: AtomicBool,
}

impl Membership {
    /// For a breaker that is not shared before it [begins](Self::begin).
    pub(crate) fn new(threads: Arc<Threads>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            threads,
            id,
            health: Arc::default(),
            attached: Arc::default(),
            #[cfg(feature = "keyed")]
            has_left: AtomicBool::new(false),
        }
    }

    /// Shares the breaker. It gets the state of the fleet in the background.
    pub(crate) fn begin(&self, name: SmolStr, cell: &'static Cell, observer: &Arc<dyn Observer>) {
        let Self { threads, id, .. } = self;
        let is_marked = Arc::new(AtomicBool::new(false));
        let (sender, home) = (threads.sender(), threads.home());
        let marker = Marker { id: *id, is_marked: Arc::clone(&is_marked), sender, home };
        cell.with_shared(&**observer, |machine, _| {
            machine.share(Box::new(marker), threads.counts() == FleetCounts::Shared);
        });
        let weak = Arc::downgrade(observer);
        let entry = FleetEntry::new(*id, name, cell, weak, is_marked, Arc::clone(&self.health));
        threads.start();
        threads.send(Message::Attach(Box::new(entry), Attaching::new(&self.attached)));
        #[cfg(feature = "keyed")]
        if self.has_left.load(Ordering::SeqCst) {
            threads.send(Message::Detach(self.id));
        }
    }

    /// Waits until the breaker has the state of the fleet, but not for long. If it is late, the
    /// breaker begins alone.
    pub(crate) fn wait(&self) {
        self.attached.wait(ATTACH_WAIT);
    }

    /// The breaker decides alone from now on.
    #[cfg(feature = "keyed")]
    pub(crate) fn leave(&self) {
        self.has_left.store(true, Ordering::SeqCst);
        self.threads.send(Message::Detach(self.id));
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
