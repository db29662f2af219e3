//! A store that does as it is told.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tower_breaker::{HistoryRecord, MemoryStore, StateStore, StoreError};

#[derive(Clone, Default)]
pub(crate) struct Moody {
    pub(crate) values: MemoryStore,
    mood: Arc<Mood>,
}

#[derive(Default)]
struct Mood {
    fails: AtomicBool,
    fails_for_histories: AtomicBool,
    hangs: Mutex<bool>,
    awake: Condvar,
}

impl Moody {
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

    fn be_moody(&self) -> Result<(), StoreError> {
        let hangs = self.mood.hangs.lock().unwrap();
        drop(self.mood.awake.wait_while(hangs, |hangs| *hangs).unwrap());
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

    fn load_all(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.be_moody()?;
        self.values.load_all()
    }

    fn save(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.be_moody()?;
        self.values.save(key, value)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.be_moody()?;
        self.values.delete(key)
    }

    fn append(&self, key: &str, records: &[HistoryRecord]) -> Result<(), StoreError> {
        self.be_moody()?;
        // It is taken, and is said not to be: one may not rely on an error.
        self.values.append(key, records)?;
        self.be_moody_about_histories()
    }

    fn history(
        &self,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>, StoreError> {
        self.be_moody_about_histories()?;
        self.values.history(key, before, limit)
    }

    fn instance(&self) -> usize {
        self.values.instance()
    }
}

pub(crate) fn eventually(what: &str, so: impl Fn() -> bool) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("still not so after ten seconds: {what}");
}
