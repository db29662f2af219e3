//! The breakers of a group by key.

use std::{
    borrow::Cow,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use tokio::sync::broadcast;

use super::{
    anchor::AnchorLease,
    call_key::CallKey,
    hashed::{HashedRef, KeyHasher},
    missing::Missing,
    names::Names,
    slots::{Insertion, Slots},
    source::Source,
    stats::{KeyedStats, OpenLimitStats},
    when_full::WhenFull,
};
use crate::{
    breaker::nesting::key_mark::{KeyMark, join_innermost},
    config::Config,
    event::Event,
    handle::{AfterBuild, Breaker},
    outcome::CallEnd,
    registry::events::EventGate,
    write_behind::NameSearch,
};

/// What a key's call is recorded by.
pub(crate) enum Found<T> {
    /// By the breaker that was passed to the closure.
    Breaker(T),
    /// By a breaker that is created if the call fails.
    OnFailure(Missing),
    /// By none: the group is full.
    Unrecorded,
}

/// If a call of this key began before the key had a breaker, what goes by the breaker in this poll
/// is part of that call.
fn join_call_of(key: HashedRef<'_>, breaker: &Breaker) {
    if KeyMark::of(key.hash).is_running() {
        join_innermost(breaker.cell());
    }
}

/// No lock is held while a breaker gets new settings, and events of its construction are held back:
/// listeners may use the group.
pub(super) struct Table {
    /// Dropped first: calls do not find a group that is going.
    pub(super) lease: AnchorLease,
    pub(super) names: Names,
    pub(super) source: Source,
    pub(super) hasher: KeyHasher,
    /// Has the name of the group. It records nothing.
    group: Breaker,
    /// The breaker of the keys for which there is no room.
    shared: Option<Breaker>,
    pub(super) slots: Slots<Breaker, Arc<Config>>,
    /// Whether a key has no breaker until a call fails.
    is_lazy: AtomicBool,
    /// Whether the last new breaker found no room.
    is_crowded: AtomicBool,
    unrecorded: AtomicU64,
    /// For the keys that the store knows.
    pub(super) name_search: NameSearch,
}

impl Table {
    pub(super) fn new(
        group: &str,
        config: Arc<Config>,
        source: Source,
        when_full: WhenFull,
        max_breakers: usize,
    ) -> Arc<Self> {
        let names = Names::new(group);
        let shared = || {
            let (builder, gate) = source.build(names.group(), None, &config);
            // `restore` waits for it.
            let breaker = builder.restore_later().build_valid();
            gate.open();
            breaker
        };
        let lease = AnchorLease::new();
        let table = Arc::new(Self {
            hasher: KeyHasher::default(),
            group: Breaker::builder(group)
                .call_metrics(config.call_metrics)
                .counts_for_group()
                .build_valid(),
            shared: (when_full == WhenFull::Share).then(shared),
            is_lazy: AtomicBool::new(
                source.environment.store.is_none() && source.can_wait(&config),
            ),
            is_crowded: AtomicBool::new(false),
            unrecorded: AtomicU64::new(0),
            name_search: NameSearch::new(),
            slots: Slots::new(config, max_breakers, lease.changes()),
            names,
            source,
            lease,
        });
        table.lease.hold(&table);
        table
    }

    pub(super) fn group(&self) -> &Breaker {
        &self.group
    }

    #[inline]
    pub(super) fn shorten<'a>(&self, key: &'a str) -> Cow<'a, str> {
        self.names.shorten(key)
    }

    pub(super) fn len(&self) -> usize {
        usize::try_from(self.slots.len()).unwrap_or(usize::MAX)
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
        KeyedStats { breakers: self.slots.len(), unrecorded_calls: self.unrecorded(), open_limit }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.source.hub.subscribe()
    }

    pub(super) fn breakers(&self) -> Vec<Breaker> {
        self.retry_names();
        self.slots.breakers()
    }

    pub(super) fn shared(&self) -> Option<&Breaker> {
        self.shared.as_ref()
    }

    #[cfg(feature = "admin")]
    pub(super) fn get_by_name(&self, name: &str) -> Option<Breaker> {
        if let Some(key) = self.names.key_of(name) {
            return self.slots.peek(self.hasher.hash(&key));
        }
        self.shared.as_ref().filter(|shared| shared.name() == name).cloned()
    }

    /// Passes the breaker of a key to the closure, if there is one.
    #[inline]
    pub(super) fn with<T>(&self, key: &str, work: impl FnOnce(&Breaker) -> T) -> Option<T> {
        self.slots.with(self.hasher.hash(key), work)
    }

    /// Like [`with`](Self::with), for a key that had no breaker.
    pub(super) fn with_late<T>(
        &self,
        missing: &Missing,
        work: impl FnOnce(&Breaker) -> T,
    ) -> Option<T> {
        self.with(missing.key.as_str(), work)
    }

    /// The breaker of such a key, if it has one by now. If not, the key was looked up now.
    pub(super) fn find_late(&self, missing: &mut Missing) -> Option<Breaker> {
        // Before the lookup: a breaker that is created meanwhile is noticed.
        let group = self.lease.find();
        let breaker = self.with_late(missing, Breaker::clone);
        if breaker.is_none() {
            missing.group = group;
        }
        breaker
    }

    /// The breaker of such a key. Creates it if there is none and there is room.
    pub(super) fn with_new<T>(
        &self,
        missing: &Missing,
        work: impl FnOnce(&Breaker) -> T,
    ) -> Option<T> {
        let result = self.with_own(self.hasher.hash(missing.key.as_str()), work).ok();
        self.count_unrecorded(result)
    }

    pub(super) fn get(&self, key: &str) -> Option<Breaker> {
        let key = self.hasher.hash(key);
        let breaker = self.slots.with(key, Breaker::clone)?;
        join_call_of(key, &breaker);
        Some(breaker)
    }

    pub(super) fn get_or_create(&self, key: &str) -> Option<Breaker> {
        let key = self.hasher.hash(key);
        self.see(key);
        let breaker = self.with_new_or_shared(key, Breaker::clone)?;
        if self.shared.as_ref().is_none_or(|shared| !ptr::eq(shared.cell(), breaker.cell())) {
            join_call_of(key, &breaker);
        }
        Some(breaker)
    }

    /// Notes a call with this key, or a question of a balancer.
    #[inline]
    fn see(&self, key: HashedRef<'_>) {
        if let Some(max_open) = &self.source.max_open {
            max_open.see(key.hash);
        }
    }

    /// Like `with_new`, but a key without room goes by the shared breaker, if there is one.
    fn with_new_or_shared<T>(
        &self,
        key: HashedRef<'_>,
        work: impl FnOnce(&Breaker) -> T,
    ) -> Option<T> {
        let result = match self.with_own(key, work) {
            Ok(result) => Some(result),
            Err(work) => self.shared.as_ref().map(work),
        };
        if result.is_none() && KeyMark::of(key.hash).is_running() {
            // It is part of a call that was counted.
            return None;
        }
        self.count_unrecorded(result)
    }

    /// Gives the closure back if there is no room.
    #[inline]
    fn with_own<T, W: FnOnce(&Breaker) -> T>(&self, key: HashedRef<'_>, work: W) -> Result<T, W> {
        self.slots.try_with(key, work).or_else(|work| match self.create(key) {
            // Creation does not count as a use: a key that is never used again is evicted first.
            Some(breaker) => Ok(work(&breaker)),
            None => self.slots.try_with(key, work),
        })
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
        let is_shared = self.shared.is_some() && self.is_crowded.load(Relaxed);
        let is_lazy = can_wait && self.is_lazy.load(Relaxed) && !is_shared;
        // Before the lookup: a breaker that is created meanwhile is noticed.
        let group = self.lease.find();
        let hashed = self.hasher.hash(key);
        self.see(hashed);
        if is_lazy {
            let found = if self.slots.is_empty() { None } else { self.slots.with(hashed, work) };
            return found.map_or_else(
                || {
                    let mark = KeyMark::of(hashed.hash);
                    Found::OnFailure(Missing { key: CallKey::new(key), group, mark })
                },
                Found::Breaker,
            );
        }
        match self.with_new_or_shared(hashed, work) {
            Some(result) => Found::Breaker(result),
            None => Found::Unrecorded,
        }
    }

    #[cfg(feature = "load")]
    pub(super) fn would_reject(&self, key: &str) -> bool {
        let key = self.hasher.hash(key);
        // A balancer calls no endpoint that rejects: the key counts as seen while it asks.
        self.see(key);
        let found = self.slots.peek(key);
        let shared = || self.shared.clone().filter(|_| self.is_crowded.load(Relaxed));
        let breaker = found.or_else(shared);
        breaker.is_some_and(|breaker| breaker.cell().would_refuse_balancer())
    }

    /// The hash is of this group alone, so the same key of another group has another mark.
    #[inline]
    pub(super) fn mark_of(&self, key: &str) -> KeyMark {
        KeyMark::of(self.hasher.hash(key).hash)
    }

    /// Replaces the settings of all breakers, now and later.
    pub(super) fn update(&self, config: Arc<Config>) {
        let of_group = Config { call_metrics: config.call_metrics, ..Config::default() };
        self.slots.set_settings(config);
        self.set_lazy();
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

    /// Tries again to read the names of stored breakers, if there was no thread for that.
    fn retry_names(&self) {
        self.name_search.retry();
    }

    /// Whether a key may be without a breaker until a call fails. Not while the store may hold keys
    /// whose names were not read yet: a breaker reads its own snapshot.
    fn can_wait(&self, config: &Config) -> bool {
        self.source.can_wait(config) && self.name_search.is_done()
    }

    /// To be called after the settings, or what is known of the store, have changed. Whichever
    /// thread does so last sees both.
    pub(super) fn set_lazy(&self) {
        self.slots.with_settings(|config| self.is_lazy.store(self.can_wait(config), Relaxed));
    }

    pub(super) fn config(&self) -> Arc<Config> {
        self.slots.settings()
    }

    /// Creates the breaker of a key, if it has none, and if there is room or another one can be
    /// replaced. Returns the new one.
    #[cold]
    fn create(&self, key: HashedRef<'_>) -> Option<Breaker> {
        self.retry_names();
        let insertion = self.slots.insert(key, |config| self.make(key, config));
        self.is_crowded.store(matches!(insertion, Insertion::Full), Relaxed);
        let Insertion::New { made_with, replaced } = insertion else { return None };
        let breaker = made_with.complete();
        if let Some(replaced) = replaced {
            replaced.leave_store();
        }
        Some(breaker)
    }

    /// It must not wait for the store: it may be on the way of a request. Nor may it run code of
    /// users, which may use the group: the lock of the group is held.
    pub(super) fn make(&self, key: HashedRef<'_>, config: &Arc<Config>) -> (Breaker, New) {
        let (builder, gate) = self.source.build(&self.names.name_of(key.text), Some(key), config);
        let (breaker, after_build) = builder.restore_later().build_under_lock();
        (breaker.clone(), New { breaker, after_build, gate })
    }
}

/// A breaker that is complete, and whose events are no longer held back, once it is in the group.
pub(super) struct New {
    breaker: Breaker,
    after_build: AfterBuild,
    gate: Arc<EventGate>,
}

impl New {
    /// To be called without a lock.
    pub(super) fn complete(self) -> Breaker {
        self.after_build.run();
        self.breaker.share();
        self.gate.open();
        self.breaker
    }
}
