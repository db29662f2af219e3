//! A breaker's end of the write-behind.

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    FlushError, PersistSettings, Source, StoreHealth,
    entry::{DIRTY, Entry, FAILED, Phase},
    names,
    queue::{Ask, Wish, after},
    reading::Reading,
    restore,
    writer::{self, Writer},
};
use crate::{HistoryEntry, HistoryError, HistoryPage, HistoryQuery, store::StateStore};

/// Ties a breaker to its store, for as long as it lives: from the snapshot at the start to the last save.
///
/// Not to be owned by the [`Source`] itself: the writer holds the source until this is dropped.
pub(crate) struct Attachment {
    marker: Marker,
    drop_wait: Duration,
}

/// Tells the writer what changed. Cheap to clone; the [`Source`] may own one.
#[derive(Clone)]
pub(crate) struct Marker {
    writer: Arc<Writer>,
    entry: Arc<Entry>,
}

impl Marker {
    /// The state changed: save it at once. Never waits; may be called with the breaker's lock held.
    pub(crate) fn transition(&self) {
        self.writer.mark_now(&self.entry);
    }

    /// Counts changed: save them within the flush interval. One load if that is already on its way.
    pub(crate) fn counts(&self) {
        self.writer.mark_later(&self.entry);
    }

    /// Transitions for the history, to be followed by [`transition`](Self::transition). Never waits; may be
    /// called with the breaker's lock held.
    pub(crate) fn note(&self, transitions: impl Iterator<Item = HistoryEntry>) {
        self.entry.note(transitions);
    }

    fn ask(&self, reply: impl FnOnce(Result<(), FlushError>) + Send + 'static) {
        let wish = Wish::Saved(Box::new(reply));
        self.writer.ask(Ask { entry: Arc::clone(&self.entry), wish });
    }

    fn wait_for_load(&self, load_wait: Duration) {
        let (loaded, wait) = mpsc::sync_channel(1);
        self.ask(move |_| {
            let _ = loaded.try_send(());
        });
        // Whoever is built by a listener on the writer's own thread is restored in its next round.
        if self.writer.is_this_thread() {
            return;
        }
        // A store that is known not to answer is not waited for by one breaker after the other.
        if !self.writer.is_stalled() && wait.recv_timeout(load_wait).is_err() {
            self.writer.stall(load_wait);
        }
    }

    fn ask_to_save(&self, reply: impl FnOnce(Result<(), FlushError>) + Send + 'static) {
        self.entry.set(DIRTY);
        self.ask(reply);
    }
}

impl Attachment {
    /// Reads the snapshot of `name`, and hands it to `source`, before it returns, unless that takes longer than
    /// the load wait, or the store fails; then `source` gets it whenever that becomes possible.
    pub(crate) fn attach(
        store: Arc<dyn StateStore>,
        name: &str,
        source: Arc<dyn Source>,
        settings: &PersistSettings,
    ) -> Self {
        let entry = Arc::new(Entry::new(name, source, settings));
        let found = writer::find(store.id());
        let is_read = found
            .as_ref()
            .filter(|writer| !writer.has_last_words())
            .is_some_and(|writer| restore::adopt_early(&entry, &writer.shelf.take(&entry.key)));
        let writer = writer::join(found, store, &entry, settings);
        let marker = Marker { writer, entry };
        if !is_read {
            marker.wait_for_load(settings.load_wait);
        }
        // It may have been too late for the announcement.
        marker.writer.tell(std::slice::from_ref(&marker.entry));
        Self { marker, drop_wait: settings.drop_wait }
    }

    /// What the breaker's code calls when something changed.
    pub(crate) fn marker(&self) -> Marker {
        self.marker.clone()
    }

    /// Saves the newest state; once this returns `Ok`, what it was at the time of the call is durable. An error
    /// means that the first attempt failed; more will follow. Works in any runtime. Dropping the future changes
    /// nothing: the state is saved all the same.
    pub(crate) async fn flush(&self) -> Result<(), FlushError> {
        let (reply, result) = oneshot::channel();
        self.marker.ask_to_save(move |outcome| drop(reply.send(outcome)));
        result.await.unwrap_or_else(|_| Err(FlushError::not_saved("the writer ended")))
    }

    /// As [`flush`](Self::flush), for code that is not async; waits at most for `timeout`.
    pub(crate) fn flush_blocking(&self, timeout: Duration) -> Result<(), FlushError> {
        let (reply, result) = mpsc::sync_channel(1);
        self.marker.ask_to_save(move |outcome| drop(reply.try_send(outcome)));
        result.recv_timeout(timeout).unwrap_or(Err(FlushError::TimedOut))
    }

    /// A page of the history, with all that happened before the call in it. Works in any runtime; an error comes
    /// within a bounded time.
    pub(crate) async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, HistoryError> {
        let (reply, result) = oneshot::channel();
        let entry = Arc::clone(&self.marker.entry);
        let key = names::history(entry.name());
        let reading = Reading { key, query, reply: Box::new(move |page| drop(reply.send(page))) };
        self.marker.writer.ask(Ask { entry, wish: Wish::History(reading) });
        result.await.unwrap_or_else(|_| Err(HistoryError::unavailable("the writer ended")))
    }

    #[cfg(test)]
    pub(super) fn same_writer(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.marker.writer, &other.marker.writer)
    }

    /// How the store is doing, as far as this breaker is concerned.
    pub(crate) fn health(&self) -> StoreHealth {
        if let Phase::LeftAlone { version, since } = self.marker.entry.phase() {
            let reason = FlushError::NewerSnapshot { version }.to_string();
            return StoreHealth::Degraded { since, reason, pending: 1 };
        }
        self.marker.writer.health()
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let Marker { writer, entry } = &self.marker;
        let until = after(self.drop_wait);
        let kept = entry.keep_last_words() && writer.has_room_for_last_words();
        // One more attempt is all that a store gets that fails anyway.
        let healthy = writer.is_healthy();
        writer.detach(entry, if healthy { until } else { Instant::now() });
        let (reply, result) = mpsc::sync_channel(1);
        self.marker.ask_to_save(move |outcome| drop(reply.try_send(outcome)));
        if writer.is_this_thread() {
            return;
        }
        let stalled = writer.is_stalled();
        if stalled || result.recv_timeout(self.drop_wait) == Err(mpsc::RecvTimeoutError::Timeout) {
            // One that fails answers, and it may be this breaker alone that it fails for.
            if !stalled && !entry.has(FAILED) {
                writer.stall(self.drop_wait);
            }
            // Whoever keeps the last words for it, the store gets them when it answers.
            if !kept {
                writer.forget(entry);
            }
            return;
        }
        writer.wait_for_end(until);
    }
}
