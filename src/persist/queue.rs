//! What the writer has to do, and when.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    FlushError,
    entry::{DIRTY, Entry, FAILED, LATER, NOW},
    reading::Reading,
    roll::Roll,
    round::Verdict,
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
    pub(super) entries: Roll,
    /// How many of them are of breakers that are gone.
    pub(super) detached: usize,
    now: Vec<Arc<Entry>>,
    now_due: Option<Instant>,
    later: Vec<Arc<Entry>>,
    later_due: Option<Instant>,
    /// Could not be read or saved. They are tried again by themselves, so that what is wrong with one of them
    /// spoils nothing for others.
    failed: Vec<Arc<Entry>>,
    pub(super) asks: Vec<Ask>,
    /// The asks that the round under way will answer.
    pub(super) in_flight: Vec<Ask>,
    /// Histories to be read, and the one that is being read.
    pub(super) readings: VecDeque<Reading>,
    pub(super) being_read: Option<Reading>,
    /// While a sweep is under way: the breakers that came since it began.
    pub(super) newcomers: Option<Vec<Arc<Entry>>>,
    rested_at: Instant,
    /// The store can do nothing for anybody: only those who ask trouble it before the next try.
    away: bool,
    /// It did nothing that it was asked the last time, so who knows what has become of it.
    suspect: bool,
    /// When to try again what failed, and how long to wait after that.
    retry: Option<(Instant, Duration)>,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Running,
            entries: Roll::default(),
            detached: 0,
            now: Vec::new(),
            now_due: None,
            later: Vec::new(),
            later_due: None,
            failed: Vec::new(),
            asks: Vec::new(),
            in_flight: Vec::new(),
            readings: VecDeque::new(),
            being_read: None,
            newcomers: None,
            rested_at: Instant::now(),
            away: false,
            suspect: false,
            retry: None,
        }
    }

    pub(super) fn add(&mut self, entry: &Arc<Entry>) {
        self.entries.insert(entry);
        if let Some(newcomers) = &mut self.newcomers {
            newcomers.push(Arc::clone(entry));
        }
    }

    /// The lists may still hold it; there, nothing is left to do for it.
    pub(super) fn remove(&mut self, entry: &Arc<Entry>) {
        entry.clear(FAILED);
        if self.entries.remove(entry) && entry.is_detached() {
            self.detached = self.detached.saturating_sub(1);
        }
    }

    /// The breaker is gone.
    pub(super) fn detach(&mut self, entry: &Arc<Entry>, try_until: Instant) {
        entry.detach(try_until);
        self.detached += usize::from(self.entries.contains(entry));
    }

    /// True if the writer has to know of it, because it would sleep too long.
    pub(super) fn push_now(&mut self, entry: &Arc<Entry>) -> bool {
        self.push_due(entry, after(entry.transition_flush_interval))
    }

    /// The same for counts.
    pub(super) fn push_later(&mut self, entry: &Arc<Entry>) -> bool {
        self.later.push(Arc::clone(entry));
        sooner(&mut self.later_due, after(entry.flush_interval))
    }

    fn push_due(&mut self, entry: &Arc<Entry>, due: Instant) -> bool {
        // Breakers that come and go while the store hangs must not pile up here.
        if self.now.len() > 2 * self.entries.len() + 64 {
            self.now.retain(|entry| self.entries.contains(entry));
        }
        self.now.push(Arc::clone(entry));
        sooner(&mut self.now_due, due)
    }

    /// Puts back what was not dealt with.
    pub(super) fn put_back(&mut self, entry: &Arc<Entry>) {
        if entry.set(NOW) & NOW == 0 {
            self.push_due(entry, Instant::now());
        }
    }

    /// Keeps what failed for the next try.
    pub(super) fn set_aside(&mut self, entry: &Arc<Entry>) {
        if entry.set(FAILED) & FAILED == 0 {
            self.failed.push(Arc::clone(entry));
        }
    }

    /// Whether the store failed the last time, and not only some breaker's part of it.
    pub(super) fn is_failing(&self) -> bool {
        self.away || self.suspect
    }

    /// When there is something to do. While the store is away, only its next try and those who ask count.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        if !self.asks.is_empty() {
            return Some(now);
        }
        let retry = self.retry.map(|(at, _)| at);
        if self.away {
            return retry;
        }
        let rested = |due: Instant| due.max(self.rested_at);
        [retry, self.now_due.map(rested), self.later_due.map(rested)].into_iter().flatten().min()
    }

    /// What to deal with now. An entry may be in it twice; the second time nothing is left to do.
    pub(super) fn take(&mut self) -> Vec<Arc<Entry>> {
        let now = Instant::now();
        let retrying = self.retry.is_some_and(|(at, _)| at <= now);
        let mut batch = Vec::new();
        if retrying {
            // One that was saved since then is here without the mark.
            batch.extend(self.failed.iter().filter(|entry| entry.has(FAILED)).cloned());
        }
        // What failed while the store took the rest is tried on its own, and the rest comes right after it.
        let alone = retrying && !self.away;
        if !alone {
            if retrying || !self.away {
                self.take_changed(now, retrying, &mut batch);
            }
            self.in_flight.append(&mut self.asks);
        }
        // An asker's entry may not be in the list yet: a thread that marked it first is about to put it there.
        batch.extend(self.in_flight.iter().map(|ask| Arc::clone(&ask.entry)));
        batch
    }

    fn take_changed(&mut self, now: Instant, all: bool, batch: &mut Vec<Arc<Entry>>) {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| all || due <= now);
        for (list, due, mark) in
            [(&mut self.now, &mut self.now_due, NOW), (&mut self.later, &mut self.later_due, LATER)]
        {
            if !is_due(*due) {
                continue;
            }
            *due = None;
            for entry in list.drain(..) {
                entry.clear(mark);
                // What has changed once more since it failed is saved with its next try.
                if !entry.has(FAILED) {
                    batch.push(entry);
                }
            }
        }
    }

    /// Goes by what a round said about the store, once those that failed are set aside. True if all is well.
    pub(super) fn conclude(&mut self, verdict: Verdict) -> bool {
        self.rested_at = Instant::now() + REST;
        self.failed.retain(|entry| entry.has(FAILED));
        let well = verdict == Verdict::Well && self.failed.is_empty();
        let was_away = std::mem::replace(&mut self.away, verdict == Verdict::Away);
        if matches!(verdict, Verdict::Away | Verdict::Failed) {
            self.suspect = true;
        } else if std::mem::take(&mut self.suspect) {
            if was_away {
                // They failed with everybody, and so they are tried with everybody.
                for entry in self.failed.drain(..) {
                    entry.clear(FAILED);
                }
            }
            self.mark_all();
        }
        if verdict != Verdict::Well {
            self.wait_longer();
        } else if self.failed.is_empty() {
            self.retry = None;
        }
        well
    }

    fn wait_longer(&mut self) {
        let now = Instant::now();
        self.retry = match self.retry {
            // Somebody asked in between, and that is not the store's own turn.
            Some((at, wait)) if at > now => Some((at, wait)),
            Some((_, wait)) => Some((now + wait, LAST_RETRY.min(wait * 2))),
            None => Some((now + FIRST_RETRY, FIRST_RETRY * 2)),
        };
    }

    /// The store may have lost what was saved earlier, so everybody saves again.
    fn mark_all(&mut self) {
        for entry in self.entries.iter() {
            if entry.set(NOW | DIRTY) & NOW == 0 {
                self.now.push(Arc::clone(entry));
            }
        }
        self.now_due = Some(Instant::now());
    }
}

/// Brings a time forward, if it is not that early already.
fn sooner(known: &mut Option<Instant>, due: Instant) -> bool {
    let sooner = known.is_none_or(|known| due < known);
    if sooner {
        *known = Some(due);
    }
    sooner
}

/// The moment after `wait`, or one that nobody will live to see if the clock does not reach that far.
pub(super) fn after(wait: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now + YEAR)
}
