//! One breaker on a store: what its own threads and the writer's thread share.

use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::SeqCst},
};

use super::{
    announced::Announced,
    entries::EntryId,
    hashes,
    health::HealthAt,
    keys,
    last_state::{EntryState, LastState},
    pending_history::PendingHistory,
    refresh::RefreshTime,
    source::{
        EncodedSnapshot, Part, RestoreError, SaveSettings, SnapshotBase, SnapshotSource, TakeOver,
    },
};
use crate::{
    clock::SystemClock,
    history::HistoryEntry,
    snapshot::Snapshot,
    sync::{caught, contain, std_lock},
};

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
    /// The hash of the key.
    pub(super) hash: u64,
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
    announced: Announced,
    /// The snapshot in the store that others may continue.
    base: Mutex<Option<Arc<SnapshotBase>>>,
    /// Whether nothing is saved at present: another breaker owns the name, or this one is about to
    /// take over its state. Changed with the inbox locked.
    suspended: AtomicBool,
    /// Whether the store holds a snapshot of this name, as far as is known.
    is_stored: AtomicBool,
    /// The number of the newest transition that is part of the breaker's state, among those of all
    /// breakers of the process: 0 if there was none. What time alone does is not one of them.
    newest_transition: AtomicU64,
    /// The number of the newest transition that a part of the store holds, while the whole of it
    /// cannot be read; 0 if it holds none of this breaker, and [`UNREAD`] if it was not read.
    early: AtomicU64,
    /// The breaker's state when it was dropped, for a breaker that takes it over.
    last_state: OnceLock<Box<EntryState>>,
    /// Whether the log has said that another breaker owns the name.
    has_warned: AtomicBool,
    /// Whether the breaker has made a transition that is not saved. What time alone does is not
    /// one.
    has_unsaved_transition: AtomicBool,
    /// When the store would be about to forget the snapshot.
    refresh_at: RefreshTime,
}

/// No transition has this number.
const UNREAD: u64 = u64::MAX;

/// Numbers the transitions of all breakers.
static TRANSITIONS: AtomicU64 = AtomicU64::new(0);

impl Entry {
    pub(super) fn new(id: EntryId, key: String, source: Arc<dyn SnapshotSource>) -> Self {
        Self {
            id,
            hash: hashes::hash(&key),
            key,
            marks: AtomicU8::new(0),
            source: Mutex::new(Some(source)),
            history: Mutex::default(),
            announced: Announced::default(),
            base: Mutex::default(),
            suspended: AtomicBool::new(false),
            is_stored: AtomicBool::new(false),
            newest_transition: AtomicU64::new(0),
            early: AtomicU64::new(UNREAD),
            last_state: OnceLock::new(),
            has_warned: AtomicBool::new(false),
            has_unsaved_transition: AtomicBool::new(false),
            refresh_at: RefreshTime::default(),
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

    /// Whether the state changed, not only counts. To be asked before the snapshot is encoded: a
    /// transition that comes in between counts as unsaved until the next time.
    pub(super) fn take_state_changed(&self) -> bool {
        self.has_unsaved_transition.swap(false, SeqCst)
    }

    /// A snapshot with a changed state was not saved.
    pub(super) fn keep_state_changed(&self) {
        self.has_unsaved_transition.store(true, SeqCst);
    }

    /// When to save the snapshot again in a store that expires it by itself.
    pub(super) const fn refresh_at(&self) -> &RefreshTime {
        &self.refresh_at
    }

    /// The newest snapshot, if anything changed since it was last encoded. `Err` if encoding it
    /// panicked: a breaker's clock is the user's code.
    pub(super) fn encode_if_marked(&self) -> Result<Option<EncodedSnapshot>, String> {
        // Before the snapshot is taken: a change that it misses sets a mark again.
        let marks = self.marks.swap(0, SeqCst);
        if marks == 0 {
            return Ok(None);
        }
        // Before the source is looked for: see `Inbox::discard`.
        self.is_stored.store(true, SeqCst);
        let Some(source) = self.source() else { return Ok(None) };
        // A transition is saved whole.
        let base = std_lock(&self.base).clone().filter(|_| marks == Urgency::Counts.marks());
        caught(|| match base {
            Some(base) => source.encode_since(&base),
            None => source.encode(),
        })
    }

    /// What was encoded is saved; `None`: perhaps it is not.
    pub(super) fn set_saved(&self, saved: Option<&Part>) {
        self.is_stored.store(true, SeqCst);
        let mut base = std_lock(&self.base);
        match saved {
            None | Some(Part::Whole) => *base = None,
            Some(Part::Base(saved)) => *base = Some(Arc::clone(saved)),
            Some(Part::Continuation) => {}
        }
    }

    pub(super) fn restore(
        &self,
        bytes: &[u8],
        continuation: Option<&[u8]>,
    ) -> Result<(), RestoreError> {
        self.restore_by(|source| match continuation {
            Some(continuation) => source.restore_continued(bytes, continuation),
            None => source.restore(bytes),
        })
    }

    pub(super) fn restore_parsed(&self, snapshot: &Snapshot) -> Result<(), RestoreError> {
        self.restore_by(|source| source.restore_parsed(snapshot))
    }

    fn restore_by(
        &self,
        restore: impl FnOnce(&dyn SnapshotSource) -> Result<(), RestoreError>,
    ) -> Result<(), RestoreError> {
        self.is_stored.store(true, SeqCst);
        let Some(source) = self.source() else { return Ok(()) };
        caught(|| restore(&*source))
            .unwrap_or_else(|_| Err(RestoreError::unreadable("reading it panicked")))
    }

    /// Restores what a part of the store holds. Returns whether it could be read.
    pub(super) fn restore_early(&self, bytes: &[u8]) -> bool {
        self.is_stored.store(true, SeqCst);
        let Some(source) = self.source() else { return false };
        caught(|| source.restore_early(bytes)).unwrap_or(false)
    }

    /// Whether a part of the store was read because the whole of it cannot be.
    pub(super) fn is_read_early(&self) -> bool {
        self.early.load(SeqCst) != UNREAD
    }

    /// The newest state, and the number of its newest transition, if that part of the store which
    /// was read has yet to hold it. Nothing else is newer than what the whole store may hold.
    pub(super) fn encode_early(&self) -> Option<(EncodedSnapshot, u64)> {
        // Before the state is taken: what happens in between is saved the next time. The mark that
        // stays says that the whole store has yet to hold it.
        self.marks.fetch_and(Urgency::Counts.marks(), SeqCst);
        let newest = self.newest_transition.load(SeqCst);
        let is_new = self.early.load(SeqCst) < newest;
        is_new.then(|| Some((self.state()?.snapshot, newest)))?
    }

    /// A part of the store was read, or holds this transition; 0: none of this breaker.
    pub(super) fn set_saved_early(&self, newest: u64) {
        self.early.store(newest, SeqCst);
    }

    /// The breaker's settings. `None` if it is gone.
    pub(super) fn settings(&self) -> Option<SaveSettings> {
        let source = self.source()?;
        caught(|| source.settings()).ok()
    }

    /// Whether the store holds a snapshot of this name, or may hold one after a save that failed.
    /// What was not read yet is not known.
    #[cfg(feature = "keyed")]
    pub(super) fn is_stored(&self) -> bool {
        self.is_stored.load(SeqCst)
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.suspended.load(SeqCst)
    }

    /// For the [schedule](super::schedule::Schedule) alone.
    pub(super) fn set_suspended(&self, suspended: bool) {
        self.suspended.store(suspended, SeqCst);
    }

    /// Whether the log has to say that another breaker owns the name: once in a breaker's life.
    pub(super) fn must_warn(&self) -> bool {
        !self.has_warned.swap(true, SeqCst)
    }

    /// Continues with the state of `other`, if `is_wanted` and this breaker has made no later
    /// transition of its own. Returns `false` if that state is not known any more, or if a panic
    /// kept it from being taken over.
    pub(super) fn take_over(&self, other: &Self, is_wanted: impl Fn() -> bool) -> bool {
        // Before the state is taken: what happens in between is newer than this number says.
        let newest = other.newest_transition.load(SeqCst);
        let Some(state) = other.state() else { return false };
        let Some(source) = self.source() else { return true };
        let is_wanted = || {
            // The breaker is locked, so it makes no transition meanwhile.
            let is_wanted = self.newest_transition.load(SeqCst) <= newest && is_wanted();
            if is_wanted {
                self.newest_transition.store(newest, SeqCst);
                self.has_unsaved_transition.fetch_or(newest > 0, SeqCst);
            }
            is_wanted
        };
        let take_over = TakeOver {
            state: &state.snapshot.value,
            gone_since: state.gone_since,
            is_newer: newest > 0,
            is_wanted: &is_wanted,
        };
        // A breaker's clock and listeners are the user's code.
        let own = self.newest_transition.load(SeqCst);
        let mut is_done = false;
        self.contain(|| {
            source.take_over(&take_over);
            is_done = true;
        });
        if !is_done {
            // Unless the breaker has made a transition meanwhile.
            let _ = self.newest_transition.compare_exchange(newest, own, SeqCst, SeqCst);
        }
        is_done
    }

    /// The breaker's state, or the last one that it had.
    fn state(&self) -> Option<EntryState> {
        let state = self.source().and_then(|source| {
            let snapshot = caught(|| source.encode()).ok()??;
            Some(EntryState { snapshot, gone_since: source.gone_since() })
        });
        state.or_else(|| self.last_state.get().map(|state| EntryState::clone(state)))
    }

    /// Keeps the state of a breaker that is being dropped, for one that takes it over.
    pub(super) fn keep_state(&self) {
        if let Some(mut state) = self.state() {
            state.gone_since.get_or_insert_with(SystemClock::tick);
            // Set once: a breaker is dropped once.
            let _ = self.last_state.set(Box::new(state));
        }
    }

    /// Moves the pending transitions of `other` here. Returns whether there were any.
    pub(super) fn inherit_history(&self, other: &Self) -> bool {
        let pending = other.with_history(PendingHistory::take).unwrap_or_default();
        let are_there_any = !pending.is_empty();
        if are_there_any {
            std_lock(&self.history).get_or_insert_default().put_back(pending);
        }
        are_there_any
    }

    /// Replaces the breaker by its newest snapshot, while there is a breaker to take it from.
    pub(super) fn keep_last_state(&self) -> bool {
        let Some(source) = self.source() else { return false };
        // This runs in a drop.
        let words = caught(|| LastState::of(&*source));
        let Ok(Some(words)) = words else { return false };
        let breaker = std_lock(&self.source).replace(Arc::new(words));
        drop((breaker, source));
        true
    }

    /// Releases the breaker. This may be the last reference to it, so its drop runs without the
    /// lock.
    pub(super) fn release(&self) {
        let source = std_lock(&self.source).take();
        drop(source);
    }

    /// Adds transitions to the history, if the breaker is saved. Called with the breaker's lock
    /// held.
    pub(super) fn record_transitions(&self, transitions: impl Iterator<Item = HistoryEntry>) {
        let is_suspended = self.is_suspended();
        for entry in transitions {
            if entry.transition.reason.is_own() {
                self.newest_transition.store(TRANSITIONS.fetch_add(1, SeqCst) + 1, SeqCst);
                self.has_unsaved_transition.store(true, SeqCst);
            }
            if !is_suspended {
                std_lock(&self.history).get_or_insert_default().push(entry);
            }
        }
    }

    /// Whether transitions wait to be appended to the history.
    pub(super) fn has_pending_history(&self) -> bool {
        self.with_history(|history| !history.is_written()) == Some(true)
    }

    /// Does something with the history, if there ever was a transition.
    pub(super) fn with_history<T>(&self, job: impl FnOnce(&mut PendingHistory) -> T) -> Option<T> {
        std_lock(&self.history).as_deref_mut().map(job)
    }

    /// Tells the breaker's listeners of a change of the store's health, unless they know of a later
    /// one. `newest` reads the health as it is now.
    pub(super) fn announce(&self, change: &HealthAt, newest: impl Fn() -> HealthAt) {
        self.announced.announce(change, newest, |health| {
            if let Some(source) = self.source() {
                // The thread must outlive what a listener does.
                self.contain(|| source.store_health(health));
            }
        });
    }

    /// If the breaker has no listeners, notes that they know the store's health up to the newest
    /// epoch, and returns `true`.
    pub(super) fn skip_announcements(&self, newest: impl Fn() -> u64) -> bool {
        let has_listeners = self.source().is_some_and(|source| source.has_listeners());
        if !has_listeners {
            self.announced.skip(newest);
        }
        !has_listeners
    }

    fn contain(&self, work: impl FnOnce()) {
        contain(|| format!("the code of circuit breaker {:?}", self.name()), work);
    }

    fn source(&self) -> Option<Arc<dyn SnapshotSource>> {
        std_lock(&self.source).clone()
    }
}
