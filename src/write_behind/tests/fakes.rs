//! A breaker and a store under the control of a test.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use super::super::{
    Attachment, ChangeMarker, EncodedSnapshot, FirstSteps, KnownStore, RestoreError, SaveSettings,
    SnapshotSource, TakeOver, WriteBehindConfig, keys,
};
use crate::{
    health::StoreHealth,
    store::{HistoryRecord, HistoryStore, MemoryStore, SaveEntry, StateStore, StoreError},
    sync::std_lock,
};

/// Long enough that a test which needs all of it has found a fault, not a slow machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Waits for something that happens on another thread.
pub(crate) fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < LONG, "never happened: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// All settings of a breaker and of the write-behind.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) flush_interval: Duration,
    pub(crate) transition_flush_interval: Duration,
    pub(crate) load_wait: Duration,
    pub(crate) drop_wait: Duration,
    /// The first sweep, and the time between two.
    pub(crate) sweep: (Duration, Duration),
    pub(crate) verify: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let WriteBehindConfig {
            load_wait,
            drop_wait,
            first_sweep,
            sweep_interval,
            verify_interval: verify,
        } = WriteBehindConfig::default();
        Self {
            flush_interval: Duration::from_secs(1),
            transition_flush_interval: Duration::ZERO,
            load_wait,
            drop_wait,
            sweep: (first_sweep, sweep_interval),
            verify,
        }
    }
}

impl Settings {
    pub(crate) fn save(&self) -> SaveSettings {
        SaveSettings {
            flush_interval: self.flush_interval,
            transition_flush_interval: self.transition_flush_interval,
            history_retention_days: 30,
        }
    }

    pub(crate) fn config(&self) -> WriteBehindConfig {
        WriteBehindConfig {
            load_wait: self.load_wait,
            drop_wait: self.drop_wait,
            first_sweep: self.sweep.0,
            sweep_interval: self.sweep.1,
            verify_interval: self.verify,
        }
    }
}

/// A breaker whose snapshots are its state, a text. `corrupt...` cannot be read, and `newer...` is
/// of version 7.
pub(crate) struct Breaker {
    state: Mutex<State>,
    pub(crate) restores: AtomicUsize,
    pub(crate) encoded: AtomicUsize,
    pub(crate) health: Mutex<Vec<StoreHealth>>,
}

struct State {
    text: String,
    has_changed: bool,
    settings: SaveSettings,
    /// Once it is attached.
    marker: Option<ChangeMarker>,
}

impl Breaker {
    pub(crate) fn new(state: &str) -> Arc<Self> {
        let settings = Settings::default().save();
        let state = State { text: state.to_owned(), has_changed: false, settings, marker: None };
        Arc::new(Self {
            state: Mutex::new(state),
            restores: AtomicUsize::new(0),
            encoded: AtomicUsize::new(0),
            health: Mutex::default(),
        })
    }

    pub(crate) fn state(&self) -> String {
        std_lock(&self.state).text.clone()
    }

    /// As a breaker does it: the mark is set under the lock that encoding takes.
    pub(crate) fn change(&self, state: impl Into<String>) {
        let mut held = std_lock(&self.state);
        held.text = state.into();
        held.has_changed = true;
        if let Some(marker) = &held.marker {
            marker.counts();
        }
    }

    pub(crate) fn change_and_mark(
        &self,
        state: impl Into<String>,
        marker: &ChangeMarker,
        at_once: bool,
    ) {
        let mut held = std_lock(&self.state);
        held.text = state.into();
        held.has_changed = true;
        if at_once { marker.transition() } else { marker.counts() }
    }

    pub(crate) fn set(&self, settings: SaveSettings) {
        std_lock(&self.state).settings = settings;
    }

    /// Whether the store was healthy, at each announcement.
    pub(crate) fn announced(&self) -> Vec<bool> {
        std_lock(&self.health).iter().map(StoreHealth::is_healthy).collect()
    }
}

impl SnapshotSource for Breaker {
    fn encode(&self) -> Option<EncodedSnapshot> {
        self.encoded.fetch_add(1, SeqCst);
        Some(EncodedSnapshot::whole(self.state().into_bytes(), None))
    }

    fn restore(&self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.restores.fetch_add(1, SeqCst);
        let text = String::from_utf8(bytes.to_vec())
            .map_err(|e| RestoreError::unreadable(e.to_string()))?;
        if text.starts_with("corrupt") {
            return Err(RestoreError::unreadable("marked as corrupt"));
        }
        if text.starts_with("newer") {
            return Err(RestoreError::NewerVersion(7));
        }
        let mut state = std_lock(&self.state);
        if !state.has_changed {
            state.text = text;
        }
        Ok(())
    }

    fn take_over(&self, take_over: &TakeOver<'_>) {
        let text = String::from_utf8(take_over.state.to_vec()).unwrap();
        let mut state = std_lock(&self.state);
        if (take_over.is_wanted)() {
            state.text = text;
            state.has_changed |= take_over.is_newer;
        }
    }

    fn settings(&self) -> SaveSettings {
        std_lock(&self.state).settings
    }

    fn store_health(&self, health: &StoreHealth) {
        // This would deadlock if the writer held a lock of its own or of the breaker.
        drop(std_lock(&self.state));
        std_lock(&self.health).push(health.clone());
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Away,
    /// It is away, which each call finds out after this time.
    AwayAfter(Duration),
    Odd,
    Panics,
    Hangs,
    Slow(Duration),
    /// Pages cannot be read; all else works.
    NoPages,
}

/// A store in memory that counts its calls. Each meets the fault that is set.
#[derive(Clone)]
pub(crate) struct Faulty {
    pub(crate) memory: MemoryStore,
    fault: Arc<(Mutex<Fault>, Condvar)>,
    pub(crate) calls: Arc<AtomicUsize>,
    pub(crate) writes: Arc<AtomicUsize>,
    pub(crate) loads: Arc<AtomicUsize>,
    pub(crate) pages: Arc<AtomicUsize>,
}

impl Faulty {
    pub(crate) fn new(fault: Fault) -> Self {
        Self {
            memory: MemoryStore::new(),
            fault: Arc::new((Mutex::new(fault), Condvar::new())),
            calls: Arc::default(),
            writes: Arc::default(),
            loads: Arc::default(),
            pages: Arc::default(),
        }
    }

    pub(crate) fn set(&self, fault: Fault) {
        *std_lock(&self.fault.0) = fault;
        self.fault.1.notify_all();
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let bytes = self.memory.load(&format!("circuit_breaker:{name}:state")).unwrap()?;
        Some(String::from_utf8(bytes).unwrap())
    }

    pub(crate) fn holds(&self, name: &str, text: &str) -> bool {
        self.text(name).as_deref() == Some(text)
    }

    pub(crate) fn put(&self, name: &str, text: &str) {
        self.memory.save(&SaveEntry::new(keys::snapshot(name), text.as_bytes())).unwrap();
    }

    fn meet(&self) -> Result<(), StoreError> {
        self.calls.fetch_add(1, SeqCst);
        let mut fault = std_lock(&self.fault.0);
        loop {
            match *fault {
                Fault::None | Fault::NoPages => return Ok(()),
                Fault::Away => return Err(StoreError::Unavailable("it is away".into())),
                Fault::AwayAfter(time) => {
                    drop(fault);
                    thread::sleep(time);
                    return Err(StoreError::Unavailable("it is away".into()));
                }
                Fault::Odd => return Err(StoreError::Other("it is odd".into())),
                Fault::Panics => {
                    drop(fault);
                    panic!("this test provokes a panic");
                }
                Fault::Hangs => fault = self.fault.1.wait(fault).unwrap(),
                Fault::Slow(time) => {
                    drop(fault);
                    thread::sleep(time);
                    return Ok(());
                }
            }
        }
    }
}

impl StateStore for Faulty {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.loads.fetch_add(1, SeqCst);
        self.meet()?;
        self.memory.load(key)
    }

    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.pages.fetch_add(1, SeqCst);
        self.meet()?;
        if *std_lock(&self.fault.0) == Fault::NoPages {
            return Err(StoreError::Other("there are no pages".into()));
        }
        self.memory.load_page(after, limit)
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.meet()?;
        self.writes.fetch_add(1, SeqCst);
        self.memory.save(entry)
    }

    fn save_all(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        self.meet()?;
        self.writes.fetch_add(1, SeqCst);
        self.memory.save_all(entries)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.meet()?;
        self.memory.delete(key)
    }

    fn history(&self) -> Option<&dyn HistoryStore> {
        Some(self)
    }

    fn id(&self) -> usize {
        self.memory.id()
    }
}

impl HistoryStore for Faulty {
    fn append(&self, key: &str, records: &[HistoryRecord]) -> Result<(), StoreError> {
        self.meet()?;
        self.memory.append(key, records)
    }

    fn load_newest(
        &self,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>, StoreError> {
        self.meet()?;
        self.memory.load_newest(key, before, limit)
    }

    fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        self.meet()?;
        self.memory.keys(after, limit)
    }

    fn trim(&self, key: &str, older_than: u64, keep: usize) -> Result<(), StoreError> {
        self.meet()?;
        self.memory.trim(key, older_than, keep)
    }
}

/// Waits that outlast a busy machine: only what never comes uses them up.
pub(crate) fn patient() -> Settings {
    Settings {
        flush_interval: Duration::from_millis(20),
        load_wait: LONG,
        drop_wait: LONG,
        ..Settings::default()
    }
}

/// Waits that a hanging store uses up.
pub(crate) fn hasty() -> Settings {
    Settings { flush_interval: Duration::from_millis(100), ..Settings::default() }
}

pub(crate) fn attach(
    store: &(impl StateStore + Clone),
    name: &str,
    breaker: &Arc<Breaker>,
    settings: &Settings,
) -> Attachment {
    breaker.set(settings.save());
    let source = breaker.clone() as Arc<dyn SnapshotSource>;
    let attached = attach_source(store, name, &source, settings);
    std_lock(&breaker.state).marker = Some(attached.marker());
    attached
}

pub(crate) fn attach_source(
    store: &(impl StateStore + Clone),
    name: &str,
    source: &Arc<dyn SnapshotSource>,
    settings: &Settings,
) -> Attachment {
    let store = KnownStore::new(store.clone());
    let (save, config) = (settings.save(), settings.config());
    Attachment::attach(store, name, source, save, &config, FirstSteps::complete)
}
