//! The process in which the threads of a fleet run.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::SystemTime,
};

use super::health::FleetHealth;
use crate::process::Process;

pub(super) const FORKED: &str = "this process was forked after the first circuit breaker of the \
     fleet was built, and has no thread for the fleet: build circuit breakers after daemonizing";

/// Tells a forked process from the one in which the threads run. It inherits everything but them,
/// and locks as they were at that moment: so it takes none that a thread of the fleet may hold.
#[derive(Debug, Default)]
pub(super) struct Home {
    /// The number of the process; 0 before the threads are started.
    process: AtomicU32,
    /// When it was noticed that this is another one.
    forked_since: OnceLock<SystemTime>,
}

impl Home {
    /// The threads are about to be started in this process.
    pub(super) fn enter(&self) {
        self.process.store(Process::current().id(), SeqCst);
    }

    /// They could not be started.
    pub(super) fn leave(&self) {
        self.process.store(0, SeqCst);
    }

    pub(super) fn has_threads(&self) -> bool {
        self.process.load(SeqCst) != 0
    }

    pub(super) fn is_forked(&self) -> bool {
        let process = self.process.load(SeqCst);
        process != 0 && process != Process::current().id()
    }

    /// The health in a forked process.
    pub(super) fn forked_health(&self) -> Option<FleetHealth> {
        self.is_forked().then(|| FleetHealth::Alone {
            since: *self.forked_since.get_or_init(SystemTime::now),
            reason: FORKED.to_owned(),
        })
    }
}
