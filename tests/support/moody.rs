//! A store in memory that does as it is told.
#![allow(dead_code, reason = "each test tells it something else")]

use std::{
    collections::HashSet,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::ThreadId,
    time::{Duration, Instant},
};

use tower_breaker::{
    MemoryStore, StateStore,
    store::{HistoryRecord, HistoryStore, SaveEntry, StoreError},
};

#[derive(Clone, Default)]
pub(crate) struct Moody {
    pub(crate) values: MemoryStore,
    mood: Arc<Mood>,
}

#[derive(Default)]
struct Mood {
    fails: AtomicBool,
    fails_for_histories: AtomicBool,
    panics: AtomicBool,
    saves: AtomicUsize,
    threads: Mutex<HashSet<ThreadId>>,
    hangs: Mutex<bool>,
    awake: Condvar,
}

impl Moody {
    /// One that metrics know by this label.
    pub(crate) fn labelled(label: &str) -> Self {
        Self { values: MemoryStore::new().with_label(label), ..Self::default() }
    }

    pub(crate) fn fail(&self, fails: bool) {
        self.mood.fails.store(fails, Ordering::SeqCst);
    }

    pub(crate) fn fail_for_histories(&self, fails: bool) {
        self.mood.fails_for_histories.store(fails, Ordering::SeqCst);
    }

    pub(crate) fn hang(&self, hangs: bool) {
        *self.mood.hangs.lock().unwrap() = hangs;
        self.mood.awake.notify_all();
    }

    pub(crate) fn panic(&self, panics: bool) {
        self.mood.panics.store(panics, Ordering::SeqCst);
    }

    /// How many threads have asked it for anything.
    pub(crate) fn threads(&self) -> usize {
        self.mood.threads.lock().unwrap().len()
    }

    pub(crate) fn saves(&self) -> usize {
        self.mood.saves.load(Ordering::SeqCst)
    }

    /// The snapshot, as it is stored.
    pub(crate) fn stored(&self, name: &str) -> String {
        let value = self.values.load(&format!("circuit_breaker:{name}:state")).unwrap();
        String::from_utf8(value.unwrap_or_default()).unwrap()
    }

    fn be_moody(&self) -> Result<(), StoreError> {
        self.mood.threads.lock().unwrap().insert(std::thread::current().id());
        let hangs = self.mood.hangs.lock().unwrap();
        drop(self.mood.awake.wait_while(hangs, |hangs| *hangs).unwrap());
        if self.mood.panics.load(Ordering::SeqCst) {
            // Without a word: to print from where it came can take longer than a store may.
            std::panic::resume_unwind(Box::new("in a bad mood"));
        }
        if self.mood.fails.load(Ordering::SeqCst) {
            return Err(StoreError::Other("in a bad mood".into()));
        }
        Ok(())
    }

    fn be_moody_about_histories(&self) -> Result<(), StoreError> {
        self.be_moody()?;
        if self.mood.fails_for_histories.load(Ordering::SeqCst) {
            return Err(StoreError::Other("no mood for the past".into()));
        }
        Ok(())
    }
}

impl StateStore for Moody {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.be_moody()?;
        self.values.load(key)
    }

    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.be_moody()?;
        self.values.load_page(after, limit)
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.mood.saves.fetch_add(1, Ordering::SeqCst);
        self.be_moody()?;
        self.values.save(entry)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.be_moody()?;
        self.values.delete(key)
    }

    fn history(&self) -> Option<&dyn HistoryStore> {
        Some(self)
    }

    fn id(&self) -> usize {
        self.values.id()
    }

    fn label(&self) -> &str {
        self.values.label()
    }
}

impl HistoryStore for Moody {
    fn append(&self, key: &str, records: &[HistoryRecord]) -> Result<(), StoreError> {
        self.be_moody()?;
        // It is taken, and is said not to be: one may not rely on an error.
        self.values.append(key, records)?;
        self.be_moody_about_histories()
    }

    fn load_newest(
        &self,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>, StoreError> {
        self.be_moody_about_histories()?;
        self.values.load_newest(key, before, limit)
    }

    fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        self.be_moody_about_histories()?;
        self.values.keys(after, limit)
    }

    fn trim(&self, key: &str, older_than: u64, keep: usize) -> Result<(), StoreError> {
        self.be_moody_about_histories()?;
        self.values.trim(key, older_than, keep)
    }
}

/// Waits until it is so, a minute at most: a store that failed for long is asked every five seconds.
pub(crate) fn eventually(what: &str, so: impl Fn() -> bool) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("still not so after a minute: {what}");
}
