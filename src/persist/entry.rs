//! One breaker, as the writer sees it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant, SystemTime},
};

use super::{
    Encoded, FlushError, PersistSettings, RestoreError, Source, StoreHealth, names, trail::Trail,
};
use crate::{history::HistoryEntry, sync::std_lock as lock};

/// In the queue's list of those that are written at once.
pub(super) const NOW: u8 = 1;
/// In the queue's list of those that are written when the flush interval has passed.
pub(super) const LATER: u8 = 2;
/// Changed since it was last encoded. Whoever sets it sees to it that the entry is in one of the lists.
pub(super) const DIRTY: u8 = 4;
/// Encoded and not yet known to be saved.
pub(super) const SAVING: u8 = 8;
/// In the queue's list of those that could not be read or saved, and are tried again.
pub(super) const FAILED: u8 = 16;
/// Never to be saved: what is in the store is of a newer version.
const LEFT_ALONE: u8 = 32;

/// What is known of the snapshot in the store. What is there is never overwritten before it was looked at.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Nothing yet; true if loading has failed at least once.
    Unread { tried: bool },
    /// Adopted, or kept aside, or there was none.
    Ready,
    /// Of this newer version: never overwritten.
    LeftAlone { version: u64, since: SystemTime },
}

pub(super) struct Entry {
    /// That of the snapshot, with the name in it.
    pub(super) key: String,
    pub(super) flush_interval: Duration,
    pub(super) transition_flush_interval: Duration,
    marks: AtomicU8,
    /// Where it is in the [`Roll`](super::roll::Roll).
    place: AtomicUsize,
    phase: Mutex<Phase>,
    /// Emptied when the writer is through with the breaker, which also undoes the circle that a breaker makes
    /// that keeps a marker of its own.
    source: Mutex<Option<Arc<dyn Source>>>,
    /// Set once the breaker is gone: try to save its last state until then, but at least once.
    try_until: Mutex<Option<Instant>>,
    told_degraded: AtomicBool,
    /// What is to be added to the history. Most breakers have no transition for a long time.
    trail: Mutex<Option<Box<Trail>>>,
}

/// What is left of a breaker that is gone: its last snapshot, and how long its history is kept.
struct LastWords(Encoded, u32);

impl Source for LastWords {
    fn encode(&self) -> Option<Encoded> {
        Some(self.0.clone())
    }

    fn restore(&self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }

    fn retention_days(&self) -> u32 {
        self.1
    }

    fn store_health(&self, _: &StoreHealth) {}
}

/// What tells entries apart.
pub(super) fn address(entry: &Arc<Entry>) -> usize {
    Arc::as_ptr(entry).addr()
}

impl Entry {
    pub(super) fn new(name: &str, source: Arc<dyn Source>, settings: &PersistSettings) -> Self {
        Self {
            key: names::snapshot(name),
            flush_interval: settings.flush_interval,
            // Counts that change after a transition are saved with it.
            transition_flush_interval: settings
                .transition_flush_interval
                .min(settings.flush_interval),
            marks: AtomicU8::new(0),
            place: AtomicUsize::new(usize::MAX),
            phase: Mutex::new(Phase::Unread { tried: false }),
            source: Mutex::new(Some(source)),
            try_until: Mutex::new(None),
            told_degraded: AtomicBool::new(false),
            trail: Mutex::new(None),
        }
    }

    /// The breaker's name.
    pub(super) fn name(&self) -> &str {
        names::of_snapshot(&self.key).unwrap_or_default()
    }

    pub(super) fn place(&self) -> usize {
        self.place.load(SeqCst)
    }

    pub(super) fn set_place(&self, place: usize) {
        self.place.store(place, SeqCst);
    }

    pub(super) fn has(&self, marks: u8) -> bool {
        self.marks.load(SeqCst) & marks != 0
    }

    /// Sets marks, and says which were set before.
    pub(super) fn set(&self, marks: u8) -> u8 {
        self.marks.fetch_or(marks, SeqCst)
    }

    /// Takes marks away, and says which were set before.
    pub(super) fn clear(&self, marks: u8) -> u8 {
        self.marks.fetch_and(!marks, SeqCst)
    }

    /// To be called right before [`Source::encode`]: a change that comes later marks the entry again.
    pub(super) fn begin_save(&self) -> bool {
        if !self.has(DIRTY) {
            return false;
        }
        self.set(SAVING);
        self.clear(DIRTY);
        true
    }

    pub(super) fn phase(&self) -> Phase {
        lock(&self.phase).clone()
    }

    /// Whether the breaker's newest state is not saved.
    pub(super) fn is_pending(&self) -> bool {
        self.has(DIRTY | SAVING | LEFT_ALONE)
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        if matches!(phase, Phase::LeftAlone { .. }) {
            self.set(LEFT_ALONE);
        }
        *lock(&self.phase) = phase;
    }

    pub(super) fn source(&self) -> Option<Arc<dyn Source>> {
        lock(&self.source).clone()
    }

    /// Forgets the breaker. It may be the last to hold it, so its drop runs after the lock is released.
    pub(super) fn release(&self) {
        let source = lock(&self.source).take();
        drop(source);
    }

    /// Takes the newest snapshot while there is a breaker to give it. False where none is to be
    /// saved: what the store holds was not read yet, or is to be left alone.
    pub(super) fn keep_last_words(&self) -> bool {
        if !matches!(self.phase(), Phase::Ready) {
            return false;
        }
        let Some(source) = self.source() else { return false };
        // A breaker's clock is anybody's code, and this runs in a drop.
        let words = catch_unwind(AssertUnwindSafe(|| source.encode()));
        let Ok(Some(words)) = words else { return false };
        let last_words = LastWords(words, source.retention_days());
        drop(source);
        let breaker = lock(&self.source).replace(Arc::new(last_words));
        drop(breaker);
        true
    }

    /// Notes transitions for the history.
    pub(super) fn note(&self, transitions: impl Iterator<Item = HistoryEntry>) {
        let mut trail = lock(&self.trail);
        let trail = trail.get_or_insert_default();
        transitions.for_each(|transition| trail.push(transition));
    }

    /// Does something with what is to go into the history, if there ever was anything.
    pub(super) fn with_trail<T>(&self, work: impl FnOnce(&mut Trail) -> T) -> Option<T> {
        lock(&self.trail).as_deref_mut().map(work)
    }

    /// For how many days the history is to be kept, if there is anybody to say so.
    pub(super) fn retention_days(&self) -> Option<u32> {
        let source = self.source()?;
        // A breaker's clock is anybody's code.
        catch_unwind(AssertUnwindSafe(|| source.retention_days())).ok()
    }

    /// The breaker is gone.
    pub(super) fn detach(&self, try_until: Instant) {
        *lock(&self.try_until) = Some(try_until);
    }

    pub(super) fn is_detached(&self) -> bool {
        lock(&self.try_until).is_some()
    }

    /// Whether the writer is through with the entry after an attempt to save it.
    pub(super) fn is_over(&self, saved: bool) -> bool {
        // It may have changed, and gone, while what it was before was being saved.
        let saved = saved && !self.has(DIRTY);
        lock(&self.try_until).is_some_and(|until| saved || Instant::now() >= until)
    }

    /// What a flush is told if the store did its part.
    pub(super) fn outcome(&self) -> Result<(), FlushError> {
        match self.phase() {
            Phase::LeftAlone { version, .. } => Err(FlushError::NewerSnapshot { version }),
            Phase::Ready => Ok(()),
            Phase::Unread { .. } => {
                Err(FlushError::not_saved("the snapshot in the store was not read yet"))
            }
        }
    }

    /// Tells the breaker how the store is, if that is news to it.
    pub(super) fn tell(&self, health: &StoreHealth) {
        let was_degraded = self.told_degraded.swap(!health.is_healthy(), SeqCst);
        if was_degraded != health.is_healthy() {
            return;
        }
        if let Some(source) = self.source() {
            // The writer must outlive what a listener does.
            let _ = catch_unwind(AssertUnwindSafe(|| source.store_health(health)));
        }
    }
}
