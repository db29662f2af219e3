//! The only place in `write_behind` that calls a store.
//!
//! Each call is guarded: the watchdog notices if it does not return, a panic becomes an error, and
//! calls that save are recorded in the metrics.

use std::{
    cell::Cell,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant, SystemTime},
};

use super::{entry::Entry, health::Health, known_store::KnownStore, refresh::Soonest, watchdog};
use crate::{
    metrics::StoreMetrics,
    snapshot::Snapshot,
    store::{HistoryRecord, HistoryStore, SaveEntry, StateStore, StoreError},
    sync::{caught, std_lock},
};

/// What the threads that wait for a store know about it.
pub(super) struct Monitor {
    health: Mutex<Health>,
    /// How long a call may take before it is overdue.
    pub(super) patience: Duration,
    pub(super) metrics: StoreMetrics,
    /// Whether the store removes by itself what has expired.
    pub(super) expires_by_itself: bool,
    /// When the first snapshot has to be saved again.
    pub(super) soonest_refresh: Soonest,
}

impl Monitor {
    pub(super) fn new(patience: Duration, store: &KnownStore) -> Self {
        Self {
            health: Mutex::default(),
            patience,
            metrics: StoreMetrics::new(&store.label),
            expires_by_itself: store.expires_by_itself,
            soonest_refresh: Soonest::default(),
        }
    }

    /// A snapshot of this entry was read. That of a store that expires nothing is not looked into:
    /// a start with many breakers has many to read.
    pub(super) fn note_stored(
        &self,
        entry: &Entry,
        half_life: impl FnOnce() -> Option<SystemTime>,
    ) {
        if self.expires_by_itself {
            entry.refresh_at().set_at(half_life());
            self.soonest_refresh.note(entry.refresh_at());
        }
    }

    /// No other lock is taken while this one is held.
    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        std_lock(&self.health)
    }
}

/// A store, as the thread that calls it sees it. The store is released when this is dropped.
pub(super) struct StoreClient {
    store: Arc<dyn StateStore>,
    monitor: Arc<Monitor>,
    /// When the last call ended.
    last_call: Cell<Instant>,
    needs_sweep: bool,
}

impl StoreClient {
    pub(super) fn new(store: KnownStore, monitor: Arc<Monitor>) -> Self {
        let KnownStore { store, needs_sweep, .. } = store;
        Self { store, monitor, last_call: Cell::new(Instant::now()), needs_sweep }
    }

    /// The health of the store.
    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.monitor.health()
    }

    /// When the last call of the store ended, or when this client was created.
    pub(super) fn last_call(&self) -> Instant {
        self.last_call.get()
    }

    /// Whether the store removes by itself what has expired.
    pub(super) fn expires_by_itself(&self) -> bool {
        self.monitor.expires_by_itself
    }

    /// Whether what has expired has to be looked for.
    pub(super) const fn needs_sweep(&self) -> bool {
        self.needs_sweep
    }

    /// When the first snapshot has to be saved again.
    pub(super) fn soonest_refresh(&self) -> &Soonest {
        &self.monitor.soonest_refresh
    }

    /// A snapshot of this entry was read.
    pub(super) fn note_stored(&self, entry: &Entry, snapshot: &[u8]) {
        self.monitor.note_stored(entry, || Snapshot::half_life(snapshot));
    }

    /// The value of the label `store` in metrics.
    pub(super) fn label(&self) -> &str {
        self.monitor.metrics.label()
    }

    pub(super) fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.call(|store| store.load(key))
    }

    /// What can be reached of a value while a part of the store cannot be read.
    pub(super) fn load_reachable(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.call_part(|store| store.load_reachable(key))
    }

    /// Saves where [`load_reachable`](Self::load_reachable) reads.
    pub(super) fn save_reachable(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        self.call_part(|store| store.save_reachable(entries))
    }

    /// Its duration must not influence the predictions for other calls.
    fn call_part<T>(
        &self,
        job: impl FnOnce(&dyn StateStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let last_call = self.health().last_call();
        let result = self.call(job);
        self.health().set_last_call(last_call);
        result
    }

    pub(super) fn visit_page(
        &self,
        after: Option<&str>,
        limit: usize,
        visit: &mut dyn FnMut(&str, &[u8]),
    ) -> Result<(), StoreError> {
        self.call(|store| store.visit_page(after, limit, visit))
    }

    /// Like [`visit_page`](Self::visit_page), of what can be reached while a part of the store
    /// cannot be read.
    #[cfg(feature = "keyed")]
    pub(super) fn visit_reachable_page(
        &self,
        after: Option<&str>,
        limit: usize,
        visit: &mut dyn FnMut(&str, &[u8]),
    ) -> Result<(), StoreError> {
        self.call(|store| store.visit_reachable_page(after, limit, visit))
    }

    pub(super) fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.record(|| self.call(|store| store.save(entry)))
    }

    pub(super) fn save_all(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        self.record(|| self.call(|store| store.save_all(entries)))
    }

    /// Saves what is not the state of a breaker. It is not recorded in the metrics.
    pub(super) fn save_aside(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.call(|store| store.save(entry))
    }

    /// Removes what is stored of breakers that are not needed any more.
    pub(super) fn discard_all(&self, keys: &[String]) -> Result<(), StoreError> {
        self.call(|store| store.discard_all(keys))
    }

    pub(super) fn discard_history(&self, key: &str) -> Result<(), StoreError> {
        self.call_history(|histories| histories.discard(key))
    }

    /// What the sweep reads and removes from.
    pub(super) fn sweep<T>(
        &self,
        job: impl FnOnce(&dyn StateStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.call(|store| match store.swept_part() {
            Some(part) => job(part),
            None => job(store),
        })
    }

    pub(super) fn verify(&self) -> Result<(), StoreError> {
        self.call(StateStore::verify)
    }

    pub(super) fn append(&self, key: &str, records: &[HistoryRecord]) -> Result<(), StoreError> {
        self.write_histories(|histories| histories.append(key, records))
    }

    pub(super) fn append_all(
        &self,
        histories: &[(String, Vec<HistoryRecord>)],
    ) -> Result<(), StoreError> {
        self.write_histories(|store| store.append_all(histories))
    }

    pub(super) fn newest_records(
        &self,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>, StoreError> {
        self.call_history(|histories| histories.load_newest(key, before, limit))
    }

    pub(super) fn history_keys(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        self.call_history(|histories| histories.keys(after, limit))
    }

    pub(super) fn trim(&self, key: &str, older_than: u64, keep: usize) -> Result<(), StoreError> {
        self.call_history(|histories| histories.trim(key, older_than, keep))
    }

    fn write_histories(
        &self,
        job: impl FnOnce(&dyn HistoryStore) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let keeps_histories = self.call(|store| Ok(store.history().is_some()))?;
        if keeps_histories { self.record(|| self.call_history(job)) } else { Ok(()) }
    }

    /// A store without histories has none.
    fn call_history<T: Default>(
        &self,
        job: impl FnOnce(&dyn HistoryStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.call(|store| store.history().map_or_else(|| Ok(T::default()), job))
    }

    fn call<T>(
        &self,
        job: impl FnOnce(&dyn StateStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.health().begin_call(Instant::now());
        watchdog::wake();
        let called = caught(|| {
            let result = job(&*self.store);
            if let Err(error) = &result {
                // Its text is user code, too, and is going to be read.
                let _ = error.to_string();
            }
            (result, self.store.last_repair())
        });
        let now = Instant::now();
        self.last_call.set(now);
        let mut health = self.health();
        health.end_call(now);
        let result = called.map(|(result, repair)| {
            health.note_repair(repair);
            result
        });
        drop(health);
        result.unwrap_or_else(|panic| Err(StoreError::panicked(&panic)))
    }

    fn record(&self, write: impl FnOnce() -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.monitor.metrics.record_write(write)
    }
}
