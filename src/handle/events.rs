use std::sync::{Arc, OnceLock};

use smol_str::SmolStr;
use tokio::sync::broadcast;

use crate::{
    breaker::{
        cell::Cell,
        machine::{Machine, Step},
        notify::Observer,
        pool,
    },
    clock::Reading,
    config::Config,
    event::{Event, StoreEvent, Transition},
    health::StoreHealth,
    history::HistoryEntry,
    persist::{Attachment, Encoded, Marker, PersistSettings, RestoreError, Source},
    snapshot::{Snapshot, SnapshotError},
    store::StateStore,
};

/// Called at each event.
pub(super) type Listener = Box<dyn Fn(&Event) + Send + Sync>;

/// What the clones of a handle share. The last one that goes gives the cell back.
pub(super) struct Shared {
    /// Dropped before the cell is given back: it takes a last snapshot.
    /// Boxed: a breaker in memory only shall not pay for it.
    pub(super) attachment: Option<Box<Attachment>>,
    cell: &'static Cell,
    teller: Arc<Teller>,
}

impl Shared {
    pub(super) fn new(cell: &'static Cell, teller: Arc<Teller>) -> Self {
        Self { attachment: None, cell, teller }
    }

    /// Restores what the store holds of the breaker, and saves its changes from now on.
    pub(super) fn attach(&mut self, store: Arc<dyn StateStore>, settings: &PersistSettings) {
        let source = Arc::clone(&self.teller);
        let attachment = Attachment::attach(store, self.name(), source, settings);
        // Nobody has set it before: a breaker is attached once.
        let _ = self.teller.marker.set(attachment.marker());
        self.attachment = Some(Box::new(attachment));
    }

    #[inline]
    pub(super) fn name(&self) -> &SmolStr {
        &self.teller.name
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.teller.channel.get_or_init(|| broadcast::channel(64).0).subscribe()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(self.attachment.take());
        self.cell.vacate();
        pool::give_back(self.cell);
    }
}

/// Tells what happened: to the log, to the listeners, to the subscribers and to the store.
pub(super) struct Teller {
    name: SmolStr,
    cell: &'static Cell,
    listeners: Box<[Listener]>,
    channel: OnceLock<broadcast::Sender<Event>>,
    /// Who leaves word for the store, if there is one.
    marker: OnceLock<Marker>,
}

impl Teller {
    pub(super) fn new(name: SmolStr, cell: &'static Cell, listeners: Vec<Listener>) -> Self {
        Self {
            name,
            cell,
            listeners: listeners.into(),
            channel: OnceLock::new(),
            marker: OnceLock::new(),
        }
    }

    fn transition(&self, step: &Step, now: Reading) -> Transition {
        Transition {
            name: self.name.as_str().into(),
            at: now.wall_at(step.at),
            from: step.from,
            to: step.to,
            reason: step.reason,
            manual: step.reason.is_manual(),
            failure_count: step.failure_count,
            open_time: step.open_time,
        }
    }

    fn tell(&self, event: Event) {
        for listener in &*self.listeners {
            listener(&event);
        }
        if let Some(channel) = self.channel.get() {
            // Nobody listening is no fault.
            let _ = channel.send(event);
        }
    }
}

impl Observer for Teller {
    fn changed(&self, urgent: bool) {
        match self.marker.get() {
            Some(marker) if urgent => marker.transition(),
            Some(marker) => marker.counts(),
            None => {}
        }
    }

    fn note(&self, steps: &[Step], now: Reading) {
        let Some(marker) = self.marker.get() else { return };
        marker.note(steps.iter().map(|step| HistoryEntry::new(self.transition(step, now))));
    }

    fn stepped(&self, step: &Step, now: Reading) {
        let transition = self.transition(step, now);
        transition.log();
        self.tell(Event::Transition(transition));
    }
}

/// The breaker as its store's writer sees it. The cell is asked on its behalf: a store that hangs may answer when
/// the breaker is gone and the cell is another's.
impl Source for Teller {
    fn encode(&self) -> Option<Encoded> {
        let snapshot = self.cell.inspect_owned(self, Machine::snapshot)?;
        Some(Encoded { ttl: snapshot.ttl(), value: snapshot.to_json().ok()?.into_bytes() })
    }

    fn restore(&self, bytes: &[u8]) -> Result<(), RestoreError> {
        match Snapshot::from_json(bytes) {
            Ok(snapshot) => {
                self.cell.restore(self, &snapshot);
                Ok(())
            }
            Err(SnapshotError::NewerVersion(version)) => Err(RestoreError::NewerVersion(version)),
            Err(SnapshotError::Corrupt(reason)) => Err(RestoreError::Corrupt(reason)),
        }
    }

    fn retention_days(&self) -> u32 {
        let days =
            self.cell.inspect_owned(self, |machine, _| machine.config().history_retention_days);
        days.unwrap_or_else(|| Config::default().history_retention_days)
    }

    fn store_health(&self, health: &StoreHealth) {
        self.tell(Event::Store(StoreEvent {
            name: self.name.as_str().into(),
            health: health.clone(),
        }));
    }
}
