//! The breakers of a group by key, and which one a new one replaces.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use papaya::HashMap;
use smol_str::SmolStr;
use tokio::sync::broadcast;

use super::{names::Names, when_full::WhenFull};
use crate::{
    clock::TimeSource,
    config::{Config, Trip},
    event::Event,
    handle::{Breaker, BreakerBuilder},
    registry::events::Hub,
    state::State,
    store::StateStore,
    sync::std_lock,
    write_behind::{NamesWanted, find_stored_names},
};

/// How many breakers are looked at for one to replace. Bounded, since a group may be full of
/// breakers that cannot be; the next search goes on where this one has ended.
const SEARCH: usize = 64;

/// How long the construction of a group waits until the store has been read.
const RESTORE_WAIT: Duration = Duration::from_secs(1);

/// What a key's call is recorded by.
pub(crate) enum Found<T> {
    /// By the breaker that was passed to the closure.
    Breaker(T),
    /// By a breaker that is created if the call fails.
    OnFailure(SmolStr),
    /// By none: the group is full.
    Unrecorded,
}

pub(super) struct Table {
    names: Names,
    source: Source,
    /// Has the name of the group. It records nothing.
    group: Breaker,
    /// The breaker of the keys for which there is no room.
    shared: Option<Breaker>,
    max_breakers: usize,
    entries: HashMap<SmolStr, Entry>,
    len: AtomicUsize,
    /// Whether a key has no breaker until a call fails.
    is_lazy: AtomicBool,
    /// Whether the last new breaker found no room.
    is_crowded: AtomicBool,
    unrecorded: AtomicU64,
    creation: Mutex<Creation>,
}

/// Locked while an entry comes or goes.
struct Creation {
    config: Arc<Config>,
    /// The keys in the order in which they are considered for replacement.
    queue: VecDeque<SmolStr>,
}

struct Entry {
    breaker: Breaker,
    /// Whether it was used since it was last considered for replacement.
    is_used: AtomicBool,
}

impl Entry {
    fn new(breaker: Breaker) -> Self {
        Self { breaker, is_used: AtomicBool::new(false) }
    }

    fn touch(&self) -> &Breaker {
        // Most calls only read, so that threads do not pass the cache line round.
        if !self.is_used.load(Relaxed) {
            self.is_used.store(true, Relaxed);
        }
        &self.breaker
    }
}

/// What all breakers of a group are built from, but for their settings.
pub(super) struct Source {
    pub(super) store: Option<Arc<dyn StateStore>>,
    pub(super) clock: TimeSource,
    pub(super) hub: Arc<Hub>,
}

impl Source {
    fn build(&self, name: &str, config: &Arc<Config>) -> BreakerBuilder {
        let hub = Arc::clone(&self.hub);
        let mut builder = Breaker::builder(name)
            .config(Arc::clone(config))
            .on_event(move |event| hub.dispatch(event));
        builder.clock = self.clock.clone();
        builder.store.clone_from(&self.store);
        builder
    }
}

/// Whether a breaker may be replaced.
enum Replaceable {
    /// Before all others.
    Idle,
    /// If there is no idle one.
    HalfOpen,
    No,
}

impl Table {
    pub(super) fn new(
        group: &str,
        config: Arc<Config>,
        source: Source,
        when_full: WhenFull,
        max_breakers: usize,
    ) -> Self {
        let shared = || source.build(group, &config).build_valid();
        Self {
            names: Names::new(group),
            group: Breaker::builder(group).build_valid(),
            shared: (when_full == WhenFull::Share).then(shared),
            max_breakers,
            entries: HashMap::new(),
            len: AtomicUsize::new(0),
            is_lazy: AtomicBool::new(needs_only_failures(&config)),
            is_crowded: AtomicBool::new(false),
            unrecorded: AtomicU64::new(0),
            creation: Mutex::new(Creation { config, queue: VecDeque::new() }),
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

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.source.hub.subscribe()
    }

    pub(super) fn breakers(&self) -> Vec<Breaker> {
        self.entries.pin().values().map(|entry| entry.breaker.clone()).collect()
    }

    /// Passes the breaker of a key to the closure, if there is one.
    #[inline]
    pub(super) fn with<T>(&self, key: &str, work: impl FnOnce(&Breaker) -> T) -> Option<T> {
        self.entries.pin().get(key).map(|entry| work(entry.touch()))
    }

    /// The same, and creates it if there is none and there is room.
    pub(super) fn with_or_create<T>(
        &self,
        key: &str,
        work: impl FnOnce(&Breaker) -> T,
    ) -> Option<T> {
        let entries = self.entries.pin();
        if let Some(entry) = entries.get(key) {
            return Some(work(entry.touch()));
        }
        self.create(key);
        if let Some(entry) = entries.get(key) {
            return Some(work(&entry.breaker));
        }
        self.shared.as_ref().map(work)
    }

    #[inline]
    pub(super) fn find<T>(
        &self,
        key: &str,
        can_wait: bool,
        work: impl FnOnce(&Breaker) -> T,
    ) -> Found<T> {
        let is_shared = self.shared.is_some() && self.is_crowded.load(Relaxed);
        if can_wait && self.is_lazy.load(Relaxed) && !is_shared {
            return match self.entries.pin().get(key) {
                Some(entry) => Found::Breaker(work(entry.touch())),
                None => Found::OnFailure(key.into()),
            };
        }
        match self.with_or_create(key, work) {
            Some(result) => Found::Breaker(result),
            None => Found::Unrecorded,
        }
    }

    /// Replaces the settings of all breakers, now and later.
    pub(super) fn update(&self, config: &Arc<Config>) {
        let mut creation = std_lock(&self.creation);
        creation.config = Arc::clone(config);
        self.is_lazy.store(needs_only_failures(config), Relaxed);
        for entry in self.entries.pin().values() {
            entry.breaker.apply(Arc::clone(config));
        }
        for breaker in self.shared.iter().chain([&self.group]) {
            breaker.apply(Arc::clone(config));
        }
    }

    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&std_lock(&self.creation).config)
    }

    /// Creates the breaker of a key, if there is room or another one can be replaced.
    #[cold]
    fn create(&self, key: &str) {
        let mut creation = std_lock(&self.creation);
        let entries = self.entries.pin();
        if entries.contains_key(key) {
            return;
        }
        let Creation { config, queue } = &mut *creation;
        let has_room = queue.len() < self.max_breakers || self.make_room(queue);
        self.is_crowded.store(!has_room, Relaxed);
        if !has_room {
            self.unrecorded.fetch_add(1, Relaxed);
            return;
        }
        let key = SmolStr::new(key);
        // It must not wait for the store: it may be on the way of a request.
        let builder = self.source.build(&self.names.name_of(&key), config).restore_later();
        entries.insert(key.clone(), Entry::new(builder.build_valid()));
        queue.push_back(key);
        self.len.store(queue.len(), Relaxed);
    }

    /// Creates the breakers that the store knows.
    pub(super) fn restore(self: &Arc<Self>) {
        let Some(store) = self.source.store.clone() else { return };
        let (names, table) = (self.names.clone(), Arc::downgrade(self));
        let wanted = NamesWanted {
            belongs: Box::new(move |name| names.key_of(name).is_some()),
            limit: self.max_breakers,
        };
        find_stored_names(store, wanted, RESTORE_WAIT, move |names| {
            for name in names {
                // The group may have been dropped meanwhile.
                let Some(table) = table.upgrade() else { return };
                table.restore_one(&name);
            }
        });
    }

    fn restore_one(&self, name: &str) {
        let Some(key) = self.names.key_of(name).map(SmolStr::from) else { return };
        let is_wanted = |creation: &Creation| {
            creation.queue.len() < self.max_breakers && !self.entries.pin().contains_key(&key)
        };
        let config = {
            let creation = std_lock(&self.creation);
            if !is_wanted(&creation) {
                return;
            }
            Arc::clone(&creation.config)
        };
        // It waits for the store, so no lock is held.
        let breaker = self.source.build(name, &config).build_valid();
        let mut creation = std_lock(&self.creation);
        if !is_wanted(&creation) {
            breaker.drop_in_background();
            return;
        }
        if !Arc::ptr_eq(&config, &creation.config) {
            breaker.apply(Arc::clone(&creation.config));
        }
        self.entries.pin().insert(key.clone(), Entry::new(breaker));
        creation.queue.push_back(key);
        self.len.store(creation.queue.len(), Relaxed);
    }

    /// Removes a breaker. Calls that it has admitted may hold it for a while.
    fn remove(&self, key: &str) {
        let entries = self.entries.pin();
        if let Some(entry) = entries.remove(key) {
            entry.breaker.drop_in_background();
        }
    }

    /// Removes a breaker that may be replaced. (The algorithm is CLOCK: a breaker that was used
    /// since the last search gets a second chance.)
    fn make_room(&self, queue: &mut VecDeque<SmolStr>) -> bool {
        let entries = self.entries.pin();
        let mut half_open = None;
        // Twice, so that a small group finds one that has had its second chance.
        for _ in 0..(2 * queue.len()).min(SEARCH) {
            let Some(key) = queue.pop_front() else { break };
            match entries.get(&key).map(replaceable) {
                Some(Replaceable::Idle) => {
                    self.remove(&key);
                    return true;
                }
                Some(Replaceable::HalfOpen) => half_open = half_open.or_else(|| Some(key.clone())),
                Some(Replaceable::No) | None => {}
            }
            queue.push_back(key);
        }
        // It is among the last that were pushed.
        let found = half_open.and_then(|key| queue.iter().rposition(|queued| *queued == key));
        let Some(key) = found.and_then(|index| queue.remove(index)) else { return false };
        self.remove(&key);
        true
    }
}

fn replaceable(entry: &Entry) -> Replaceable {
    let was_used = entry.is_used.swap(false, Relaxed);
    match entry.breaker.state() {
        State::Closed if !was_used => Replaceable::Idle,
        State::HalfOpen if !was_used => Replaceable::HalfOpen,
        _ => Replaceable::No,
    }
}

/// Whether successes before the first failure change nothing, nor does a call that was given up.
fn needs_only_failures(config: &Config) -> bool {
    let is_streak = |trip: &Trip| matches!(trip, Trip::ConsecutiveFailures(_));
    config.abandoned_after.is_none() && config.trip_on.iter().all(is_streak)
}
