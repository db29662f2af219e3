//! What the writer has to do, and when.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    FlushError,
    entry::{DIRTY, Entry, LATER, NOW, address},
    reading::Reading,
};

/// Rests between two writes that nobody waits for, so that a storm of transitions makes large batches instead
/// of many small ones. Far below the 50 ms within which a transition is to be durable.
const REST: Duration = Duration::from_millis(5);

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Somebody who waits for the writer to have dealt with an entry.
pub(super) struct Ask {
    pub(super) entry: Arc<Entry>,
    pub(super) wish: Wish,
}

pub(super) enum Wish {
    /// To know whether it is saved.
    Saved(Box<dyn FnOnce(Result<(), FlushError>) + Send>),
    /// To see its history, once what is new is in it.
    History(Reading),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Running,
    /// Takes no more entries.
    Ending,
    /// The store was released.
    Ended,
}

pub(super) struct Queue {
    pub(super) stage: Stage,
    /// Every breaker on the store, and those that are gone with their last state not saved yet.
    pub(super) entries: HashMap<usize, Arc<Entry>>,
    /// How many of them are of breakers that are gone.
    pub(super) detached: usize,
    now: Vec<Arc<Entry>>,
    later: Vec<Arc<Entry>>,
    later_due: Option<Instant>,
    pub(super) asks: Vec<Ask>,
    /// The asks that the round under way will answer.
    pub(super) in_flight: Vec<Ask>,
    /// Histories to be read, and the one that is being read.
    pub(super) readings: VecDeque<Reading>,
    pub(super) being_read: Option<Reading>,
    /// While a sweep is under way: the breakers that came since it began.
    pub(super) newcomers: Option<Vec<Arc<Entry>>>,
    rested_at: Instant,
    /// While the store fails: when to try next, and how long to wait after that.
    retry: Option<(Instant, Duration)>,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Running,
            entries: HashMap::new(),
            detached: 0,
            now: Vec::new(),
            later: Vec::new(),
            later_due: None,
            asks: Vec::new(),
            in_flight: Vec::new(),
            readings: VecDeque::new(),
            being_read: None,
            newcomers: None,
            rested_at: Instant::now(),
            retry: None,
        }
    }

    pub(super) fn add(&mut self, entry: &Arc<Entry>) {
        self.entries.insert(address(entry), Arc::clone(entry));
        if let Some(newcomers) = &mut self.newcomers {
            newcomers.push(Arc::clone(entry));
        }
    }

    /// The lists may still hold it; there, nothing is left to do for it.
    pub(super) fn remove(&mut self, entry: &Arc<Entry>) {
        if self.entries.remove(&address(entry)).is_some_and(|entry| entry.is_detached()) {
            self.detached = self.detached.saturating_sub(1);
        }
    }

    /// The breaker is gone.
    pub(super) fn detach(&mut self, entry: &Arc<Entry>, try_until: Instant) {
        entry.detach(try_until);
        self.detached += usize::from(self.entries.contains_key(&address(entry)));
    }

    pub(super) fn push_now(&mut self, entry: &Arc<Entry>) {
        // Breakers that come and go while the store hangs must not pile up here.
        if self.now.len() > 2 * self.entries.len() + 64 {
            self.now.retain(|entry| self.entries.contains_key(&address(entry)));
        }
        self.now.push(Arc::clone(entry));
    }

    /// True if the writer has to know of it, because it would sleep too long.
    pub(super) fn push_later(&mut self, entry: &Arc<Entry>) -> bool {
        self.later.push(Arc::clone(entry));
        let due = after(entry.flush_interval);
        let sooner = self.later_due.is_none_or(|known| due < known);
        if sooner {
            self.later_due = Some(due);
        }
        sooner
    }

    /// Whether the store failed the last time.
    pub(super) fn is_failing(&self) -> bool {
        self.retry.is_some()
    }

    /// When there is something to do. While the store fails, only its next try and those who ask count.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        if !self.asks.is_empty() {
            Some(now)
        } else if let Some((at, _)) = self.retry {
            Some(at)
        } else if !self.now.is_empty() {
            Some(self.rested_at)
        } else {
            self.later_due.map(|due| due.max(self.rested_at))
        }
    }

    /// What to deal with now. An entry may be in it twice; the second time nothing is left to do.
    pub(super) fn take(&mut self) -> Vec<Arc<Entry>> {
        let now = Instant::now();
        let retrying = self.retry.is_some();
        let mut batch = Vec::new();
        if self.retry.is_none_or(|(at, _)| at <= now) {
            batch.append(&mut self.now);
            for entry in &batch {
                entry.clear(NOW);
            }
            if retrying || self.later_due.is_some_and(|due| due <= now) {
                self.later_due = None;
                for entry in self.later.drain(..) {
                    entry.clear(LATER);
                    batch.push(entry);
                }
            }
        }
        self.in_flight.append(&mut self.asks);
        // An asker's entry may not be in the list yet: a thread that marked it first is about to put it there.
        batch.extend(self.in_flight.iter().map(|ask| Arc::clone(&ask.entry)));
        batch
    }

    pub(super) fn succeeded(&mut self) {
        self.rested_at = Instant::now() + REST;
        self.retry = None;
    }

    pub(super) fn failed(&mut self) {
        let now = Instant::now();
        self.retry = match self.retry {
            // Somebody asked in between, and that is not the store's own turn.
            Some((at, wait)) if at > now => Some((at, wait)),
            Some((_, wait)) => Some((now + wait, LAST_RETRY.min(wait * 2))),
            None => Some((now + FIRST_RETRY, FIRST_RETRY * 2)),
        };
    }

    /// Puts back what could not be dealt with.
    pub(super) fn put_back(&mut self, entry: &Arc<Entry>) {
        if entry.set(NOW) & NOW == 0 {
            self.push_now(entry);
        }
    }

    /// The store may have lost what was saved earlier, so everybody saves again.
    pub(super) fn mark_all(&mut self) {
        for entry in self.entries.values() {
            if entry.set(NOW | DIRTY) & NOW == 0 {
                self.now.push(Arc::clone(entry));
            }
        }
    }
}

/// The moment after `wait`, or one that nobody will live to see if the clock does not reach that far.
pub(super) fn after(wait: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now + YEAR)
}
