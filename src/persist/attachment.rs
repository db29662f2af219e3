use std::{fmt, sync::Arc, time::Duration};

use super::{
    Settings, StoreHealth,
    entry::{Entry, Mark, Source},
    writer::Writer,
};
use crate::store::StateStore;

/// A breaker's hold on its store.
pub(crate) struct Attachment {
    marker: Arc<Marker>,
    patience: Duration,
}

/// What leaves word of changes.
pub(crate) struct Marker {
    entry: Arc<Entry>,
    writer: Arc<Writer>,
    flush_interval: Duration,
}

impl Marker {
    /// A transition happened: it is on its way to the store at once.
    pub(crate) fn transition(&self) {
        self.writer.mark(&self.entry, Mark::Transition, self.flush_interval);
    }

    /// The counts changed: they are saved within the flush interval.
    pub(crate) fn counts(&self) {
        self.writer.mark(&self.entry, Mark::Counts, self.flush_interval);
    }
}

impl Attachment {
    /// Attaches a breaker to its store, and waits (no longer than `patience`) until what the
    /// store holds of it has been restored.
    pub(crate) fn new(
        store: Arc<dyn StateStore>,
        name: &str,
        source: Arc<dyn Source>,
        settings: Settings,
    ) -> Self {
        let entry = Arc::new(Entry::new(name, source));
        let writer = Writer::attach(store, &entry);
        writer.wait_until_read(&entry, settings.patience);
        Self {
            marker: Arc::new(Marker { entry, writer, flush_interval: settings.flush_interval }),
            patience: settings.patience,
        }
    }

    pub(crate) fn marker(&self) -> &Arc<Marker> {
        &self.marker
    }

    /// Waits until the state as it is now is durable.
    pub(crate) async fn flush(&self) -> Result<(), FlushError> {
        self.marker.transition();
        let flushed = self.marker.writer.flush(&self.marker.entry);
        flushed.await.unwrap_or_else(|_| Err(FlushError::new("its thread has ended")))
    }

    pub(crate) fn health(&self) -> StoreHealth {
        self.marker.writer.health(self.patience)
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.marker.writer.detach(&self.marker.entry, self.patience);
    }
}

/// Why a flush did not make the state durable. The breaker goes on trying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlushError {
    reason: String,
}

impl FlushError {
    pub(super) fn new(reason: &str) -> Self {
        Self { reason: reason.to_owned() }
    }
}

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the circuit breaker's state is not durable yet: {}", self.reason)
    }
}

impl std::error::Error for FlushError {}
