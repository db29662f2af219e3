use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::oneshot;

use super::{
    FlushError, StoreHealth,
    entry::{Entry, Mark},
};

/// Somebody who waits until a breaker's state is durable.
pub(super) type Flusher = oneshot::Sender<Result<(), FlushError>>;

/// What the writing thread has before it.
pub(super) struct Queue {
    urgent: Vec<Arc<Entry>>,
    lazy: Vec<Arc<Entry>>,
    lazy_due: Option<Instant>,
    flushers: Vec<(Arc<Entry>, Flusher)>,
    /// After a failure: when to try again, and how long the pause was.
    retry: Option<(Instant, Duration)>,
    pub(super) entries: Vec<Arc<Entry>>,
    health: StoreHealth,
    /// Since when the thread has been asking the store.
    busy: Option<Instant>,
    /// The rounds that have ended.
    pub(super) rounds: u64,
    /// The thread takes no new breakers.
    pub(super) closing: bool,
    /// The thread has given up the store.
    pub(super) stopped: bool,
}

/// One round's work.
#[derive(Default)]
pub(super) struct Round {
    pub(super) entries: Vec<Arc<Entry>>,
    pub(super) flushers: Vec<(Arc<Entry>, Flusher)>,
}

/// What the thread is to do next.
pub(super) enum Next {
    Work(Round),
    Wait(Option<Duration>),
    Stop,
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            urgent: Vec::new(),
            lazy: Vec::new(),
            lazy_due: None,
            flushers: Vec::new(),
            retry: None,
            entries: Vec::new(),
            health: StoreHealth::Healthy,
            busy: None,
            rounds: 0,
            closing: false,
            stopped: false,
        }
    }

    /// Adds a breaker, whose snapshot is to be read first.
    pub(super) fn attach(&mut self, entry: &Arc<Entry>) {
        self.entries.push(Arc::clone(entry));
        self.urgent.push(Arc::clone(entry));
    }

    pub(super) fn detach(&mut self, entry: &Arc<Entry>) {
        self.entries.retain(|other| !Arc::ptr_eq(other, entry));
    }

    pub(super) fn push(&mut self, entry: &Arc<Entry>, mark: Mark, flush_interval: Duration) {
        if mark == Mark::Transition {
            self.urgent.push(Arc::clone(entry));
        } else {
            self.lazy.push(Arc::clone(entry));
            self.lazy_due.get_or_insert_with(|| Instant::now() + flush_interval);
        }
    }

    pub(super) fn flush(&mut self, entry: &Arc<Entry>, flusher: Flusher) {
        self.flushers.push((Arc::clone(entry), flusher));
    }

    /// The rounds that will have ended when what is being done now is done.
    pub(super) fn current_round(&self) -> u64 {
        self.rounds + u64::from(self.busy.is_some())
    }

    /// How the store is doing. One that takes longer than `patience` is as good as gone.
    pub(super) fn health(&self, patience: Duration) -> StoreHealth {
        let taken = self.busy.map(|since| since.elapsed()).unwrap_or_default();
        if self.health != StoreHealth::Healthy || taken <= patience {
            return self.health.clone();
        }
        StoreHealth::Degraded {
            since: SystemTime::now().checked_sub(taken).unwrap_or(SystemTime::UNIX_EPOCH),
            reason: format!("it has not answered for {taken:.1?}"),
            pending: self.waiting(),
        }
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.health == StoreHealth::Healthy
    }

    fn waiting(&self) -> usize {
        self.urgent.len() + self.lazy.len()
    }

    /// After a failure everything waits for the pause to end, but for those who asked to flush:
    /// they shall have an answer.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        if self.flushers.is_empty()
            && let Some((at, _)) = self.retry
            && now < at
        {
            return if self.entries.is_empty() { Next::Stop } else { Next::Wait(Some(at - now)) };
        }
        // With nobody left to change anything, there is nothing to gather for.
        let due = self.lazy_due.is_some_and(|due| now >= due) || self.entries.is_empty();
        let gathered = due && !self.lazy.is_empty();
        if self.urgent.is_empty() && self.flushers.is_empty() && !gathered {
            return match self.lazy_due {
                _ if self.entries.is_empty() => Next::Stop,
                Some(due) => Next::Wait(Some(due.saturating_duration_since(now))),
                None => Next::Wait(None),
            };
        }
        let mut round = Round {
            entries: std::mem::take(&mut self.urgent),
            flushers: std::mem::take(&mut self.flushers),
        };
        // What is gathered goes along: one write for all.
        round.entries.append(&mut self.lazy);
        self.lazy_due = None;
        round.entries.extend(round.flushers.iter().map(|(entry, _)| Arc::clone(entry)));
        round.entries.sort_unstable_by_key(|entry| Arc::as_ptr(entry).addr());
        round.entries.dedup_by(|one, other| Arc::ptr_eq(one, other));
        self.busy = Some(now);
        Next::Work(round)
    }

    fn end_round(&mut self) {
        self.busy = None;
        self.rounds += 1;
    }

    /// A round ended well. Returns whether the store was degraded before.
    pub(super) fn succeeded(&mut self) -> bool {
        self.end_round();
        self.retry = None;
        std::mem::replace(&mut self.health, StoreHealth::Healthy) != StoreHealth::Healthy
    }

    /// A round failed: its breakers wait for the next. Returns whether the store was healthy
    /// before.
    pub(super) fn failed(&mut self, entries: Vec<Arc<Entry>>, reason: String) -> bool {
        self.end_round();
        let pause = self.retry.map_or(FIRST_PAUSE, |(_, pause)| (pause * 2).min(LONGEST_PAUSE));
        self.retry = Some((Instant::now() + pause, pause));
        for entry in entries {
            entry.raise_mark(Mark::Transition);
            self.urgent.push(entry);
        }
        self.degrade(reason)
    }

    /// Returns whether the store was healthy before.
    pub(super) fn degrade(&mut self, why: String) -> bool {
        let waiting = self.waiting();
        if let StoreHealth::Degraded { reason, pending, .. } = &mut self.health {
            (*reason, *pending) = (why, waiting);
            return false;
        }
        self.health =
            StoreHealth::Degraded { since: SystemTime::now(), reason: why, pending: waiting };
        true
    }
}
