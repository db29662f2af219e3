//! The breakers of a group by key.

use std::{
    borrow::Cow,
    hash::BuildHasher as _,
    sync::{
        Arc, Mutex,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use foldhash::{fast::RandomState, quality};
use papaya::HashMap;
use smol_str::SmolStr;
use tokio::sync::broadcast;

use super::{
    names::Names,
    replacement::{Candidate, Considered, Queue, Replaceable, choose},
    source::Source,
    stats::{KeyedStats, OpenLimitStats},
    when_full::WhenFull,
};
use crate::{
    breaker::nesting::KeyMark,
    config::{Config, Trip},
    event::Event,
    handle::Breaker,
    outcome::CallEnd,
    registry::events::Gate,
    state::State,
    sync::std_lock,
};

/// How often a new key looks for a breaker to replace: another key may take the one that it found.
const ATTEMPTS: usize = 4;

/// What a key's call is recorded by.
pub(crate) enum Found<T> {
    /// By the breaker that was passed to the closure.
    Breaker(T),
    /// By a breaker that is created if the call fails.
    OnFailure(Missing),
    /// By none: the group is full.
    Unrecorded,
}

/// A key that has no breaker.
pub(crate) struct Missing {
    key: SmolStr,
    /// How many breakers had been created before it was looked for.
    created: u64,
    mark: KeyMark,
}

impl Missing {
    /// By which a call of the same key further in is recognized.
    pub(crate) fn mark(&self) -> KeyMark {
        self.mark
    }
}

/// No lock is held while a breaker is asked for its state or gets new settings, and events of its
/// construction are held back: listeners may use the group.
pub(super) struct Table {
    pub(super) names: Names,
    pub(super) source: Source,
    /// Has the name of the group. It records nothing.
    group: Breaker,
    /// The breaker of the keys for which there is no room.
    shared: Option<Breaker>,
    pub(super) max_breakers: usize,
    pub(super) entries: HashMap<SmolStr, Entry, RandomState>,
    len: AtomicUsize,
    /// Whether a key has no breaker until a call fails.
    is_lazy: AtomicBool,
    /// Whether the last new breaker found no room.
    is_crowded: AtomicBool,
    /// How many breakers were created so far.
    created: AtomicU64,
    unrecorded: AtomicU64,
    /// Of this group alone, so that the same key of another group has another mark.
    marks: quality::RandomState,
    pub(super) creation: Mutex<Creation>,
}

/// Locked while an entry comes or goes.
pub(super) struct Creation {
    config: Arc<Config>,
    pub(super) queue: Queue,
}

pub(super) struct Entry {
    breaker: Breaker,
    /// Whether it was used since it was last considered for replacement.
    is_used: AtomicBool,
}

/// What became of an attempt to create a breaker.
enum Insertion {
    /// The key has a breaker. The gate is that of a new one.
    Done(Option<Arc<Gate>>),
    /// There is no room, unless one of these is replaced.
    Full(Vec<Candidate>),
}

impl Entry {
    fn new(breaker: Breaker) -> Self {
        Self { breaker, is_used: AtomicBool::new(false) }
    }

    #[inline]
    fn touch(&self) -> &Breaker {
        // Most calls only read, so that threads do not pass the cache line round.
        if !self.is_used.load(Relaxed) {
            self.is_used.store(true, Relaxed);
        }
        &self.breaker
    }
}

impl Table {
    pub(super) fn new(
        group: &str,
        config: Arc<Config>,
        source: Source,
        when_full: WhenFull,
        max_breakers: usize,
    ) -> Self {
        let names = Names::new(group);
        let shared = || {
            let (builder, gate) = source.build(names.group(), None, &config);
            // `restore` waits for it.
            let breaker = builder.restore_later().build_valid();
            gate.open();
            breaker
        };
        Self {
            group: Breaker::builder(group)
                .call_metrics(config.call_metrics)
                .counts_for_group()
                .build_valid(),
            shared: (when_full == WhenFull::Share).then(shared),
            max_breakers,
            entries: HashMap::with_hasher(RandomState::default()),
            len: AtomicUsize::new(0),
            is_lazy: AtomicBool::new(needs_only_failures(&config) && !source.labels.are_by_key()),
            is_crowded: AtomicBool::new(false),
            created: AtomicU64::new(0),
            unrecorded: AtomicU64::new(0),
            marks: quality::RandomState::default(),
            creation: Mutex::new(Creation { config, queue: Queue::default() }),
            names,
            source,
        }
    }

    pub(super) fn group(&self) -> &Breaker {
        &self.group
    }

    pub(super) fn shorten<'a>(&self, key: &'a str) -> Cow<'a, str> {
        self.names.shorten(key)
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Relaxed)
    }

    pub(super) fn unrecorded(&self) -> u64 {
        self.unrecorded.load(Relaxed)
    }

    pub(super) fn stats(&self) -> KeyedStats {
        let open_limit = self.source.max_open.as_ref().map(|max_open| OpenLimitStats {
            keys_seen: max_open.keys_seen(),
            open: max_open.open(),
            would_have_opened: max_open.prevented(),
        });
        KeyedStats {
            breakers: u64::try_from(self.len()).unwrap_or(u64::MAX),
            unrecorded_calls: self.unrecorded(),
            open_limit,
        }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.source.hub.subscribe()
    }

    pub(super) fn breakers(&self) -> Vec<Breaker> {
        self.entries.pin().values().map(|entry| entry.breaker.clone()).collect()
    }

    pub(super) fn shared(&self) -> Option<&Breaker> {
        self.shared.as_ref()
    }

    #[cfg(feature = "admin")]
    pub(super) fn get_by_name(&self, name: &str) -> Option<Breaker> {
        if let Some(key) = self.names.key_of(name) {
            return self.entries.pin().get(&*key).map(|entry| entry.breaker.clone());
        }
        self.shared.as_ref().filter(|shared| shared.name() == name).cloned()
    }

    /// Passes the breaker of a key to the closure, if there is one.
    #[inline]
    pub(super) fn with<T>(&self, key: &str, work: impl FnOnce(&Breaker) -> T) -> Option<T> {
        self.entries.pin().get(key).map(|entry| work(entry.touch()))
    }

    /// The same for a key that had none. Most often, no breaker was created meanwhile.
    #[inline]
    pub(super) fn with_late<T>(
        &self,
        missing: &Missing,
        work: impl FnOnce(&Breaker) -> T,
    ) -> Option<T> {
        if self.created.load(Acquire) == missing.created {
            return None;
        }
        self.with(&missing.key, work)
    }

    /// The same, and creates it if there is none and there is room.
    pub(super) fn with_new<T>(
        &self,
        missing: &Missing,
        work: impl FnOnce(&Breaker) -> T,
    ) -> Option<T> {
        let result = self.with_own(&missing.key, work).ok();
        self.count_unrecorded(result)
    }

    pub(super) fn get_or_create(&self, key: &str) -> Option<Breaker> {
        self.see(key);
        self.with_new_or_shared(key, Breaker::clone)
    }

    /// Notes a call with this key.
    #[inline]
    fn see(&self, key: &str) {
        if let Some(max_open) = &self.source.max_open {
            max_open.see(key);
        }
    }

    /// The same as `with_new`. A key without room goes by the shared breaker, if there is one.
    fn with_new_or_shared<T>(&self, key: &str, work: impl FnOnce(&Breaker) -> T) -> Option<T> {
        let result = match self.with_own(key, work) {
            Ok(result) => Some(result),
            Err(work) => self.shared.as_ref().map(work),
        };
        self.count_unrecorded(result)
    }

    /// Gives the closure back if there is no room.
    fn with_own<T, W: FnOnce(&Breaker) -> T>(&self, key: &str, work: W) -> Result<T, W> {
        let entries = self.entries.pin();
        if let Some(entry) = entries.get(key) {
            return Ok(work(entry.touch()));
        }
        self.create(key);
        match entries.get(key) {
            Some(entry) => Ok(work(&entry.breaker)),
            None => Err(work),
        }
    }

    fn count_unrecorded<T>(&self, result: Option<T>) -> Option<T> {
        if result.is_none() {
            self.unrecorded.fetch_add(1, Relaxed);
            self.group.cell().count_call(CallEnd::Unrecorded);
        }
        result
    }

    #[inline]
    pub(super) fn find<T>(
        &self,
        key: &str,
        can_wait: bool,
        work: impl FnOnce(&Breaker) -> T,
    ) -> Found<T> {
        self.see(key);
        let is_shared = self.shared.is_some() && self.is_crowded.load(Relaxed);
        if can_wait && self.is_lazy.load(Relaxed) && !is_shared {
            let created = self.created.load(Acquire);
            if let Some(entry) = self.entries.pin().get(key) {
                return Found::Breaker(work(entry.touch()));
            }
            let mark = self.mark_of(key);
            return Found::OnFailure(Missing { key: key.into(), created, mark });
        }
        match self.with_new_or_shared(key, work) {
            Some(result) => Found::Breaker(result),
            None => Found::Unrecorded,
        }
    }

    #[cfg(feature = "load")]
    pub(super) fn would_reject(&self, key: &str) -> bool {
        let entries = self.entries.pin();
        let shared = || self.shared.as_ref().filter(|_| self.is_crowded.load(Relaxed));
        let breaker = entries.get(key).map(|entry| &entry.breaker).or_else(shared);
        breaker.is_some_and(|breaker| breaker.cell().would_refuse().is_some())
    }

    #[inline]
    pub(super) fn mark_of(&self, key: &str) -> KeyMark {
        KeyMark::of(self.marks.hash_one(key))
    }

    /// Replaces the settings of all breakers, now and later.
    pub(super) fn update(&self, config: Arc<Config>) {
        let is_lazy = needs_only_failures(&config) && !self.source.labels.are_by_key();
        self.is_lazy.store(is_lazy, Relaxed);
        let of_group = Config { call_metrics: config.call_metrics, ..Config::default() };
        std_lock(&self.creation).config = config;
        self.group.apply(of_group.into());
        self.breakers().iter().chain(&self.shared).for_each(|breaker| self.apply_newest(breaker));
    }

    /// Whichever thread applies settings looks afterwards for newer ones, so the newest are the
    /// last.
    fn apply_newest(&self, breaker: &Breaker) {
        loop {
            let config = self.config();
            breaker.apply(Arc::clone(&config));
            if Arc::ptr_eq(&config, &self.config()) {
                return;
            }
        }
    }

    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&std_lock(&self.creation).config)
    }

    /// Creates the breaker of a key, if there is room or another one can be replaced.
    #[cold]
    fn create(&self, key: &str) {
        let mut replaced = None;
        for _ in 0..ATTEMPTS {
            match self.insert(key, replaced.as_ref()) {
                Insertion::Done(gate) => {
                    self.is_crowded.store(false, Relaxed);
                    if let Some(gate) = gate {
                        gate.open();
                    }
                    return;
                }
                Insertion::Full(candidates) => replaced = choose(candidates),
            }
            if replaced.is_none() {
                break;
            }
        }
        self.is_crowded.store(true, Relaxed);
    }

    fn insert(&self, key: &str, replaced: Option<&Candidate>) -> Insertion {
        let mut removed = None;
        let insertion = self.insert_locked(key, replaced, &mut removed);
        if let Some(breaker) = removed {
            breaker.leave_store();
        }
        insertion
    }

    /// `removed`: the breaker that was replaced.
    fn insert_locked(
        &self,
        key: &str,
        replaced: Option<&Candidate>,
        removed: &mut Option<Breaker>,
    ) -> Insertion {
        let mut creation = std_lock(&self.creation);
        if self.entries.pin().contains_key(key) {
            return Insertion::Done(None);
        }
        if let Some(candidate) = replaced
            && self.remove_unused(&mut creation.queue, candidate)
        {
            *removed = Some(candidate.breaker.clone());
        }
        if creation.queue.len() >= self.max_breakers {
            match self.search(&mut creation.queue) {
                Replaceable::Idle(key, breaker) => {
                    self.entries.pin().remove(&key);
                    *removed = Some(breaker);
                }
                Replaceable::Perhaps(candidates) => return Insertion::Full(candidates),
            }
        }
        let (_, gate) = self.insert_new(&mut creation, SmolStr::new(key));
        if let Some(breaker) = removed {
            // With the lock held: its key must not have another breaker before it has gone. And
            // after the new one has come, so that the store is in use all the time.
            breaker.leave_group();
        }
        Insertion::Done(Some(gate))
    }

    /// Removes the breaker that a search has found, unless it was used meanwhile, by a call that
    /// another search has forgotten too, or its key has another breaker by now.
    fn remove_unused(&self, queue: &mut Queue, candidate: &Candidate) -> bool {
        let Candidate { key, breaker } = candidate;
        let entries = self.entries.pin();
        let is_unused = entries.get(key).is_some_and(|entry| {
            std::ptr::eq(entry.breaker.cell(), breaker.cell())
                && !entry.is_used.load(Relaxed)
                // It was half-open when it was chosen.
                && matches!(breaker.cell().published_state(), State::HalfOpen | State::Closed)
        });
        let is_removed = is_unused && queue.remove(key);
        if is_removed {
            entries.remove(key);
        }
        is_removed
    }

    fn search(&self, queue: &mut Queue) -> Replaceable {
        let entries = self.entries.pin();
        queue.search(|key| {
            let entry = entries.get(key)?;
            let was_used = entry.is_used.swap(false, Relaxed);
            Some(Considered { breaker: &entry.breaker, was_used })
        })
    }

    /// It must not wait for the store: it may be on the way of a request.
    pub(super) fn insert_new(&self, creation: &mut Creation, key: SmolStr) -> (Breaker, Arc<Gate>) {
        let (builder, gate) =
            self.source.build(&self.names.name_of(&key), Some(&key), &creation.config);
        let breaker = builder.restore_later().build_valid();
        self.entries.pin().insert(key.clone(), Entry::new(breaker.clone()));
        // Release: a reader of the number finds the breaker.
        self.created.fetch_add(1, Release);
        creation.queue.push(key);
        self.len.store(creation.queue.len(), Relaxed);
        (breaker, gate)
    }
}

/// Whether successes before the first failure change nothing, nor does an abandoned call.
fn needs_only_failures(config: &Config) -> bool {
    let is_streak = |trip: &Trip| matches!(trip, Trip::ConsecutiveFailures(_));
    config.abandoned_after.is_none()
        && !config.measures_durations()
        && config.trip_on.iter().all(is_streak)
}

#[cfg(test)]
mod tests;
