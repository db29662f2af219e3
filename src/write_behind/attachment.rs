//! A breaker's end of the write-behind.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    task::Poll,
    time::Duration,
};

use super::{
    config::WriteBehindConfig,
    content::NewEntry,
    entry::{Entry, Urgency},
    health::Announcement,
    inbox::{Inbox, STOPPED},
    keys,
    known_store::KnownStore,
    ownership::warn_superseded,
    pages::Form,
    preload::Preloaded,
    request::{HistoryRequest, Wanted, WriterRequest},
    restart,
    source::{SaveSettings, SnapshotSource},
    states::{NewerVersion, ReadState},
    worker,
};
use crate::{
    error::FlushError,
    health::StoreHealth,
    history::{HistoryEntry, HistoryError, HistoryPage, HistoryQuery},
    reply::reply,
    snapshot::Snapshot,
    sync::std_lock,
    timer::Timer,
};

/// Ties a breaker to its store, from the snapshot at the start to the last save.
///
/// The [`SnapshotSource`] must not own it: the writer holds the source until this is dropped.
pub(crate) struct Attachment {
    marker: ChangeMarker,
    drop_wait: Duration,
    /// Whether the state of another breaker may still have to be taken over.
    is_taking_over: AtomicBool,
    /// Set once the breaker is no longer tied to the store, although it goes on.
    is_closed: AtomicBool,
    /// Held while new settings are passed on, so that the newest are passed last.
    updating: Mutex<()>,
}

/// What is left to do for a breaker that has joined its store: it takes over the state of an older
/// one of its name, or has the writer read its snapshot, and the log and listeners are informed.
///
/// Until then it is not saved. This runs user code: call it without holding a lock.
#[must_use = "the breaker is not restored until they are completed"]
pub(crate) struct FirstSteps {
    inbox: Arc<Inbox>,
    entry: Arc<Entry>,
    /// The breaker that owned the name until now.
    superseded: Option<Arc<Entry>>,
    /// The writer cannot be started.
    announcement: Option<Announcement>,
    state: FirstState,
    load_wait: Duration,
}

/// Where a breaker's first state comes from.
enum FirstState {
    /// It is restored.
    Restored,
    /// Another breaker of its name, or else the store.
    TakenOver { may_be_preloaded: bool },
    /// The store.
    Loaded,
}

impl FirstSteps {
    pub(crate) fn complete(self) {
        let Self { inbox, entry, superseded, announcement, state, load_wait } = self;
        if inbox.starter.waits() {
            restart::retry_later();
        }
        restart::go_on();
        if !inbox.announce(announcement) {
            // There are no threads at all.
            inbox.announce_to_all();
        }
        if let Some(superseded) = superseded {
            warn_superseded(&superseded);
        }
        let is_restored = match state {
            FirstState::Restored => true,
            FirstState::TakenOver { may_be_preloaded } => {
                inbox.take_over(&entry) || (may_be_preloaded && restore_preloaded(&inbox, &entry))
            }
            FirstState::Loaded => false,
        };
        if !is_restored {
            load(&inbox, &entry, load_wait);
        }
        // The announcement may have been before the entry was there.
        inbox.announce_to_new(&entry);
    }
}

/// Marks changes. Cheap to clone; the [`SnapshotSource`] may own one.
#[derive(Clone)]
pub(crate) struct ChangeMarker {
    inbox: Arc<Inbox>,
    entry: Arc<Entry>,
}

impl ChangeMarker {
    /// The state changed: it is saved within the flush interval of transitions.
    ///
    /// Like the other methods it never waits for the store, and may be called with the breaker's
    /// lock held.
    pub(crate) fn transition(&self) {
        self.inbox.mark(&self.entry, Urgency::Transition);
    }

    /// Counts changed: they are saved within the flush interval. Two loads if they are marked.
    pub(crate) fn counts(&self) {
        self.inbox.mark(&self.entry, Urgency::Counts);
    }

    /// Transitions for the history, to be followed by [`transition`](Self::transition).
    pub(crate) fn record_transitions(&self, transitions: impl Iterator<Item = HistoryEntry>) {
        self.entry.record_transitions(transitions);
    }

    fn request(&self, wanted: Wanted) {
        self.inbox.request(WriterRequest { entry: self.entry.id, wanted });
    }

    /// A request that concerns the name: what its owner has not saved yet is saved first.
    fn request_of_owner(&self, wanted: Wanted) {
        let owner = || self.inbox.content().owners.owner(&self.entry).map(|owner| owner.id);
        // In a forked process, the lock may be held forever, and the request is refused.
        let owner = if self.inbox.is_forked() { None } else { owner() };
        self.inbox.request(WriterRequest { entry: owner.unwrap_or(self.entry.id), wanted });
    }

    fn flush(&self, reply: impl FnOnce(Result<(), FlushError>) + Send + 'static) {
        self.counts();
        self.request(Wanted::Flush(Box::new(reply)));
    }
}

impl Attachment {
    /// Reads the snapshot of the breaker `name` and restores it into `source`. If that takes longer
    /// than the load wait, or the store fails, it happens later. `settings` are those that
    /// [`SnapshotSource::settings`] returns.
    ///
    /// The first steps are to be completed, at once or, if the caller holds a lock, after it has
    /// released it. Apart from them, it waits for nothing and runs no user code but the source.
    pub(crate) fn attach(
        store: KnownStore,
        name: &str,
        source: &Arc<dyn SnapshotSource>,
        settings: SaveSettings,
        config: &WriteBehindConfig,
        take_steps: impl FnOnce(FirstSteps),
    ) -> Self {
        let (inbox, new, announcement) = worker::join(store, name, source, settings, config);
        let NewEntry { entry, superseded, takes_over, is_one_departing } = new;
        let state = if takes_over {
            FirstState::TakenOver { may_be_preloaded: !is_one_departing }
        } else if restore_preloaded(&inbox, &entry) {
            FirstState::Restored
        } else {
            FirstState::Loaded
        };
        let marker = ChangeMarker { inbox, entry };
        let ChangeMarker { inbox, entry } = marker.clone();
        let load_wait = config.load_wait;
        take_steps(FirstSteps { inbox, entry, superseded, announcement, state, load_wait });
        Self {
            marker,
            drop_wait: config.drop_wait,
            is_taking_over: AtomicBool::new(takes_over),
            is_closed: AtomicBool::new(false),
            updating: Mutex::new(()),
        }
    }

    /// Ends the tie to the store, and has what it holds of the breaker deleted in the background,
    /// unless there are other breakers of this name. It calls no breaker.
    #[cfg(feature = "keyed")]
    pub(crate) fn discard(&self) {
        if !self.is_closed() && self.marker.inbox.discard(&self.marker.entry) {
            self.is_closed.store(true, SeqCst);
        }
    }

    /// Ends the tie to the store without saving. Another breaker of this name takes the state over.
    #[cfg(feature = "keyed")]
    pub(crate) fn abandon(&self) {
        if !self.is_closed.swap(true, SeqCst) {
            self.marker.inbox.forget(&self.marker.entry);
        }
    }

    /// Takes over the state of an older breaker of the name, if the thread that has built this one
    /// has yet to do it: it may be running a listener of the older one, which may take its time, or
    /// be the caller.
    pub(crate) fn take_over(&self) {
        if self.is_taking_over.load(SeqCst) {
            let ChangeMarker { inbox, entry } = &self.marker;
            inbox.take_over(entry);
            self.is_taking_over.store(false, SeqCst);
        }
    }

    /// Waits until the snapshot has been read, if there is hope, but no longer than this.
    pub(crate) fn wait_for_restore(&self, wait: Duration) {
        self.take_over();
        let ChangeMarker { inbox, entry } = &self.marker;
        let read = inbox.content().schedule.read_state(entry.id);
        if read == Some(ReadState::Unread) {
            load(inbox, entry, wait);
        }
    }

    pub(crate) fn marker(&self) -> ChangeMarker {
        self.marker.clone()
    }

    /// The breaker's settings changed.
    pub(crate) fn update_settings(&self) {
        let _updating = std_lock(&self.updating);
        let ChangeMarker { inbox, entry } = &self.marker;
        if let Some(settings) = entry.settings() {
            inbox.set_settings(entry, settings);
        }
    }

    /// Saves the newest state. Once this returns `Ok`, the state at the time of the call is
    /// durable. An error means that the first attempt failed; more follow. It needs no runtime, and
    /// if the future is dropped, the state is saved anyway.
    pub(crate) async fn flush(&self) -> Result<(), FlushError> {
        if self.is_closed() {
            return Err(FlushError::Closed);
        }
        let (replier, result) = reply();
        self.marker.flush(move |saved| replier.send(saved));
        result.await.unwrap_or_else(|| Err(FlushError::not_saved(STOPPED)))
    }

    /// Like [`flush`](Self::flush), for code that is not async. Waits for `timeout` at most.
    pub(crate) fn flush_blocking(&self, timeout: Duration) -> Result<(), FlushError> {
        if self.is_closed() {
            return Err(FlushError::Closed);
        }
        let (reply, result) = mpsc::sync_channel(1);
        self.marker.flush(move |saved| drop(reply.try_send(saved)));
        result.recv_timeout(timeout).unwrap_or(Err(FlushError::TimedOut))
    }

    /// Saves the newest state, and ends the tie to the store. Waits for the save, and then, if this
    /// was the last breaker on the store, until it is released, for as long as a drop may wait.
    ///
    /// If the future is dropped, the state is saved anyway; perhaps the tie is not ended yet.
    pub(crate) async fn close(&self) -> Result<(), FlushError> {
        if self.is_closed() {
            return Ok(());
        }
        let mut timer = Timer::on_system_time();
        timer.set(self.drop_wait);
        let saved = if self.marker.inbox.is_up_to_date(&self.marker.entry) {
            Some(Ok(()))
        } else {
            within(&mut timer, self.flush()).await
        };
        if !self.is_closed.swap(true, SeqCst) {
            let ChangeMarker { inbox, entry } = &self.marker;
            let left = inbox.leave(entry, self.drop_wait);
            inbox.forget_unless_kept(entry, &left);
            inbox.end_without_writer();
            if saved.is_some() {
                within(&mut timer, inbox.end()).await;
            }
        }
        saved.unwrap_or(Err(FlushError::TimedOut))
    }

    /// Whether the breaker is no longer tied to the store.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(SeqCst)
    }

    /// A page of the history, which includes everything before the call. It needs no runtime, and
    /// an error comes within a bounded time. If the future is dropped, the history is not read.
    pub(crate) async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, HistoryError> {
        if self.is_closed() {
            return Err(HistoryError::unavailable("the circuit breaker was closed"));
        }
        let Some(slot) = self.marker.inbox.history_slot() else {
            return Err(HistoryError::unavailable(
                "too many requests for histories wait; try again later",
            ));
        };
        let (replier, result) = reply();
        let key = keys::history(self.marker.entry.name());
        let request = HistoryRequest { key, query, reply: replier, _slot: slot };
        self.marker.request_of_owner(Wanted::History(request));
        result.await.unwrap_or_else(|| Err(HistoryError::unavailable(STOPPED)))
    }

    /// The health of the store, as far as it concerns this breaker.
    pub(crate) fn health(&self) -> StoreHealth {
        if self.is_closed() {
            return StoreHealth::NoStore;
        }
        let ChangeMarker { inbox, entry } = &self.marker;
        if inbox.is_forked() {
            return inbox.forked_status();
        }
        let content = inbox.content();
        if let Some(since) = content.owners.superseded_since(entry) {
            return StoreHealth::Superseded { since };
        }
        let read = content.schedule.read_state(entry.id);
        drop(content);
        if let Some(ReadState::NewerVersion(NewerVersion { version, since })) = read {
            let reason = FlushError::NewerSnapshot { version }.to_string();
            return StoreHealth::Degraded { since, reason, pending: 1 };
        }
        inbox.status()
    }

    #[cfg(test)]
    pub(super) fn inbox(&self) -> &Arc<Inbox> {
        &self.marker.inbox
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if self.is_closed() {
            return;
        }
        self.marker.inbox.depart(&self.marker.entry, self.drop_wait);
    }
}

/// The result of the future, unless the timer ends first.
async fn within<T>(timer: &mut Timer, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending => timer.poll(cx).map(|()| None),
    })
    .await
}

/// Restores a snapshot that was read for many breakers at once. One that the breaker cannot read
/// is left to the writer. Returns whether nothing is left to do.
fn restore_preloaded(inbox: &Inbox, entry: &Entry) -> bool {
    let is_read = match inbox.preload.take(&entry.key, entry.hash) {
        Preloaded::Unknown => false,
        Preloaded::Nothing => true,
        Preloaded::Value(value) => match value.form() {
            Form::Short(short) => {
                inbox.monitor.note_stored(entry, || short.half_life());
                entry.restore_parsed(&short.to_snapshot()).is_ok()
            }
            // The writer reads what continues it, too.
            Form::Bytes(bytes) if Snapshot::may_be_continued(bytes) => false,
            Form::Bytes(bytes) => {
                inbox.monitor.note_stored(entry, || Snapshot::half_life(bytes));
                entry.restore(bytes, None).is_ok()
            }
        },
    };
    if is_read {
        inbox.content().schedule.set_read(entry.id);
    }
    is_read
}

/// Has the writer read the snapshot, and waits for it, if there is hope.
fn load(inbox: &Inbox, entry: &Entry, load_wait: Duration) {
    // A listener may build a breaker on the writer's own thread.
    if load_wait.is_zero() || inbox.is_this_thread() {
        return inbox.load_later(entry.id);
    }
    let Some(result) = inbox.request_load(entry.id) else { return };
    if result.recv_timeout(load_wait) == Err(mpsc::RecvTimeoutError::Timeout) {
        inbox.stall(load_wait);
    }
}
