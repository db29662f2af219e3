//! Messages to the fleet's thread.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
    time::{Duration, Instant},
};

use smol_str::SmolStr;

use super::{
    attached::Attaching,
    entry::FleetEntry,
    home::Home,
    protocol::record::{Micros, Record},
    replica::{FleetError, FleetReplica, FleetView},
};
use crate::{breaker::sharing::FleetObserver, manual::Remark, reply::Replier, store::StoreError};

pub(super) enum Message {
    /// A breaker is shared from now on.
    Attach(Box<FleetEntry>, Attaching),
    /// The breaker is gone.
    Detach(u64),
    /// The breaker's machine has something to tell.
    Changed(u64),
    /// Calls of the breaker were counted.
    Counted(u64),
    /// News is read from now on: whatever came before must be asked for.
    Reading {
        /// The number of the last entry before.
        serial: u64,
    },
    /// News is not read at the moment.
    NotReading(StoreError),
    /// Some news was missed.
    Gap {
        /// The number of the last entry before what was not missed.
        serial: u64,
    },
    News {
        news: Vec<News>,
        /// The server's time.
        now: Micros,
        received: Instant,
        /// The number of the last of them.
        serial: u64,
    },
    /// An operator asks.
    Ask(Ask),
    /// A replica asks all about the breaker of this name.
    Asked { question: u64, name: SmolStr },
    /// The fleet is gone.
    Stop,
}

/// What an operator asks.
pub(super) enum Ask {
    /// Who is there.
    Replicas(Replier<Result<Vec<FleetReplica>, FleetError>>),
    /// What the replicas say about a breaker.
    Views {
        name: SmolStr,
        /// How long to wait for the answers.
        wait: Duration,
        replier: Replier<Result<Vec<FleetView>, FleetError>>,
    },
}

impl Ask {
    pub(super) fn fail(self, reason: &str) {
        let error = FleetError::not_reached(reason);
        match self {
            Self::Replicas(replier) => replier.send(Err(error)),
            Self::Views { replier, .. } => replier.send(Err(error)),
        }
    }
}

/// A new state of a breaker, on the server's clock.
pub(super) struct News {
    pub(super) name: SmolStr,
    pub(super) record: Record,
    /// How long the state lasts in all; `None` forever.
    pub(super) lasts: Option<Micros>,
    /// What was said about it.
    pub(super) remark: Option<Arc<Remark>>,
}

/// Tells the fleet's thread that a machine has something to tell.
pub(super) struct Marker {
    pub(super) id: u64,
    pub(super) is_marked: Arc<AtomicBool>,
    pub(super) sender: Sender<Message>,
    pub(super) home: Arc<Home>,
}

impl FleetObserver for Marker {
    fn on_change(&self) {
        if !self.home.is_forked() && !self.is_marked.swap(true, Ordering::SeqCst) {
            // Without the thread, there is no fleet.
            let _ = self.sender.send(Message::Changed(self.id));
        }
    }

    fn on_counts(&self) {
        if !self.home.is_forked() {
            let _ = self.sender.send(Message::Counted(self.id));
        }
    }
}

impl fmt::Debug for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Marker").field("id", &self.id).finish_non_exhaustive()
    }
}
