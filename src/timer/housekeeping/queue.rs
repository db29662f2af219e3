//! What is due when, and which thread does it.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    task::Waker,
    time::Duration,
};

use crate::{
    clock::{SystemClock, Tick},
    process::FASTEST_FORK,
};

/// After this time with one waker or breaker, the thread counts as blocked.
pub(super) const BLOCKED_AFTER: Duration = Duration::from_millis(100);

/// The most threads that are blocked at a time.
pub(super) const MAX_BLOCKED: usize = 8;

/// Something for which time alone causes something.
pub(crate) trait OnDeadline: Sync {
    /// The time has come that was [scheduled](super::schedule). It may come late, and more than
    /// once.
    fn on_deadline(&'static self, at: Tick);
}

pub(super) struct Queue {
    pub(super) deadlines: BTreeSet<Deadline>,
    /// Tasks to wake, by the time and a key of their own.
    pub(super) sleepers: BTreeMap<(Tick, u64), Waker>,
    pub(super) last_key: u64,
    pub(super) worker: Option<Worker>,
    pub(super) last_worker: u64,
    pub(super) standby: Option<Standby>,
    /// How many threads that another one has relieved have not returned yet.
    pub(super) blocked: usize,
    /// Whether the last attempt to start the thread failed.
    pub(super) cannot_start: bool,
    /// Before this time, needs that recur start no thread: an attempt has failed.
    pub(super) next_attempt: Tick,
}

/// The thread that does the work now.
pub(super) struct Worker {
    pub(super) id: u64,
    /// A forked process inherits the queue, but not the thread.
    pub(super) process: u32,
    /// When the thread was last known to belong to this process.
    pub(super) seen_alive: Tick,
    pub(super) state: WorkerState,
}

#[derive(Clone, Copy)]
pub(super) enum WorkerState {
    SleepsUntil(Tick),
    WorksSince(Tick),
}

/// The thread that takes over from the worker if it is blocked.
pub(super) struct Standby {
    pub(super) process: u32,
    /// Whether there was nothing to watch when it last looked.
    pub(super) is_idle: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Deadline {
    pub(super) at: Tick,
    pub(super) target: &'static dyn OnDeadline,
}

pub(super) enum Job {
    Wake(Waker),
    Call(Deadline),
}

impl Worker {
    /// The state, unless this is a forked process without the thread.
    pub(super) fn living_state(&mut self, process: impl FnOnce() -> u32) -> Option<WorkerState> {
        let now = SystemClock::tick();
        if now.since(self.seen_alive) >= FASTEST_FORK {
            if self.process != process() {
                return None;
            }
            self.seen_alive = now;
        }
        Some(self.state)
    }
}

impl Queue {
    pub(super) const fn new() -> Self {
        Self {
            deadlines: BTreeSet::new(),
            sleepers: BTreeMap::new(),
            last_key: 0,
            worker: None,
            last_worker: 0,
            standby: None,
            blocked: 0,
            cannot_start: false,
            next_attempt: Tick::from_nanos(0),
        }
    }

    /// Whether another thread may take over from one that works on the same thing since then.
    pub(super) fn may_relieve(&self, since: Tick) -> bool {
        SystemClock::tick().since(since) >= BLOCKED_AFTER && self.blocked < MAX_BLOCKED
    }

    /// From now on, this thread does the work.
    pub(super) fn appoint(&mut self, id: u64, process: u32) {
        let now = SystemClock::tick();
        self.last_worker = id;
        self.blocked += usize::from(self.worker.is_some());
        self.worker =
            Some(Worker { id, process, seen_alive: now, state: WorkerState::WorksSince(now) });
    }

    /// When something is due next.
    pub(super) fn next(&self) -> Option<Tick> {
        let sleeper = self.sleepers.first_key_value().map(|((at, _), _)| *at);
        let deadline = self.deadlines.first().map(|deadline| deadline.at);
        sleeper.into_iter().chain(deadline).min()
    }

    pub(super) fn pop_due(&mut self, now: Tick) -> Option<Job> {
        let is_due = |at: Option<Tick>| at.is_some_and(|at| at <= now);
        if is_due(self.sleepers.first_key_value().map(|((at, _), _)| *at)) {
            return self.sleepers.pop_first().map(|(_, waker)| Job::Wake(waker));
        }
        if is_due(self.deadlines.first().map(|deadline| deadline.at)) {
            return self.deadlines.pop_first().map(Job::Call);
        }
        None
    }
}

impl Job {
    pub(super) fn run(self) {
        match self {
            Self::Wake(waker) => waker.wake(),
            Self::Call(Deadline { at, target }) => target.on_deadline(at),
        }
    }
}

impl Deadline {
    /// By time, then by target.
    fn key(&self) -> (Tick, usize) {
        (self.at, std::ptr::from_ref(self.target).cast::<()>().addr())
    }
}

impl Ord for Deadline {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Deadline {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Deadline {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Deadline {}
