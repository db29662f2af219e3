//! One breaker on a store: what its own threads and the writer's thread share.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
    thread,
};

use super::{
    entries::EntryId,
    keys,
    pending_history::PendingHistory,
    source::{EncodedSnapshot, RestoreError, SaveSettings, SnapshotSource},
};
use crate::{health::StoreHealth, history::HistoryEntry, sync::std_lock};

/// How urgently a change has to be saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Counts changed: within the flush interval.
    Counts,
    /// The state changed: within the flush interval of transitions.
    Transition,
}

impl Urgency {
    const fn marks(self) -> u8 {
        match self {
            Self::Counts => 1,
            // Whatever saves a transition saves the counts too.
            Self::Transition => 1 | 2,
        }
    }
}

pub(super) struct Entry {
    pub(super) id: EntryId,
    /// The key of the snapshot; the name is part of it.
    pub(super) key: String,
    /// What changed since the snapshot was last encoded. A thread that adds a mark also
    /// [queues](super::schedule::Schedule::mark) the entry, so a mark that is set already needs
    /// nothing more.
    marks: AtomicU8,
    /// Removed when the writer is done with the entry. A breaker may own a
    /// [`ChangeMarker`](super::ChangeMarker) and with it this entry; removing the source breaks
    /// the cycle.
    source: Mutex<Option<Arc<dyn SnapshotSource>>>,
    /// Most breakers have no transition for a long time.
    history: Mutex<Option<Box<PendingHistory>>>,
    announced: Mutex<Announced>,
}

/// What was last announced to the breaker's listeners.
#[derive(Default)]
struct Announced {
    /// The epoch of the store's health.
    epoch: u64,
    /// Whether a thread is calling the listeners.
    is_calling: bool,
}

/// The health of a store, and the epoch of its last change.
pub(super) struct HealthAt {
    pub(super) epoch: u64,
    pub(super) health: StoreHealth,
}

/// What is left of a breaker that is gone.
struct LastWords {
    snapshot: EncodedSnapshot,
    settings: SaveSettings,
}

impl SnapshotSource for LastWords {
    fn encode(&self) -> Option<EncodedSnapshot> {
        Some(self.snapshot.clone())
    }

    fn restore(&self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }

    fn settings(&self) -> SaveSettings {
        self.settings
    }

    fn store_health(&self, _: &StoreHealth) {}
}

impl Entry {
    pub(super) fn new(id: EntryId, key: String, source: Arc<dyn SnapshotSource>) -> Self {
        Self {
            id,
            key,
            marks: AtomicU8::new(0),
            source: Mutex::new(Some(source)),
            history: Mutex::default(),
            announced: Mutex::default(),
        }
    }

    /// The breaker's name.
    pub(super) fn name(&self) -> &str {
        keys::name_of_snapshot(&self.key).unwrap_or_default()
    }

    /// Marks a change. Returns `true` if the entry has to be queued for it. A single load if the
    /// mark is set already.
    pub(super) fn mark(&self, urgency: Urgency) -> bool {
        let marks = urgency.marks();
        self.marks.load(SeqCst) & marks != marks
            && self.marks.fetch_or(marks, SeqCst) & marks != marks
    }

    pub(super) fn is_marked(&self) -> bool {
        self.marks.load(SeqCst) != 0
    }

    /// The newest snapshot, if anything changed since it was last encoded. `Err` if encoding it
    /// panicked: a breaker's clock is the user's code.
    pub(super) fn encode_if_marked(&self) -> thread::Result<Option<EncodedSnapshot>> {
        // Before the snapshot is taken: a change that it misses sets a mark again.
        if self.marks.swap(0, SeqCst) == 0 {
            return Ok(None);
        }
        let Some(source) = self.source() else { return Ok(None) };
        catch_unwind(AssertUnwindSafe(|| source.encode()))
    }

    pub(super) fn restore(&self, bytes: &[u8]) -> Result<(), RestoreError> {
        let Some(source) = self.source() else { return Ok(()) };
        catch_unwind(AssertUnwindSafe(|| source.restore(bytes)))
            .unwrap_or_else(|_| Err(RestoreError::unreadable("reading it panicked")))
    }

    /// The breaker's settings. `None` if it is gone.
    pub(super) fn settings(&self) -> Option<SaveSettings> {
        let source = self.source()?;
        catch_unwind(AssertUnwindSafe(|| source.settings())).ok()
    }

    /// Replaces the breaker by its newest snapshot, while there is a breaker to take it from.
    pub(super) fn keep_last_words(&self) -> bool {
        let Some(source) = self.source() else { return false };
        // This runs in a drop.
        let words = catch_unwind(AssertUnwindSafe(|| {
            Some(LastWords { snapshot: source.encode()?, settings: source.settings() })
        }));
        let Ok(Some(words)) = words else { return false };
        let breaker = std_lock(&self.source).replace(Arc::new(words));
        drop((breaker, source));
        true
    }

    /// Lets go of the breaker. This may be the last reference to it, so its drop runs without the
    /// lock.
    pub(super) fn release(&self) {
        let source = std_lock(&self.source).take();
        drop(source);
    }

    /// Adds transitions to the history.
    pub(super) fn record_transitions(&self, transitions: impl Iterator<Item = HistoryEntry>) {
        let mut history = std_lock(&self.history);
        let history = history.get_or_insert_default();
        transitions.for_each(|transition| history.push(transition));
    }

    /// Does something with the history, if there ever was a transition.
    pub(super) fn with_history<T>(&self, job: impl FnOnce(&mut PendingHistory) -> T) -> Option<T> {
        std_lock(&self.history).as_deref_mut().map(job)
    }

    /// Tells the breaker's listeners of a change of the store's health, unless they know of a later
    /// one. `newest` reads the health as it is now.
    ///
    /// One thread at a time calls the listeners, and it looks again afterwards. So what they hear
    /// last is true, however slow they are.
    pub(super) fn announce(&self, change: &HealthAt, newest: impl Fn() -> HealthAt) {
        let mut next = None;
        loop {
            let HealthAt { epoch, health } = next.as_ref().unwrap_or(change);
            let mut announced = std_lock(&self.announced);
            // The health changes from each epoch to the next.
            let is_news = *epoch > announced.epoch && (epoch ^ announced.epoch) & 1 == 1;
            if announced.is_calling || !is_news {
                return;
            }
            *announced = Announced { epoch: *epoch, is_calling: true };
            drop(announced);
            if let Some(source) = self.source() {
                // The thread must outlive what a listener does.
                let _ = catch_unwind(AssertUnwindSafe(|| source.store_health(health)));
            }
            std_lock(&self.announced).is_calling = false;
            next = Some(newest());
        }
    }

    fn source(&self) -> Option<Arc<dyn SnapshotSource>> {
        std_lock(&self.source).clone()
    }
}
