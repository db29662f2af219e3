//! A store around another one, with faults that no disk has at the touch of a button.

use std::{
    io,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use tower_breaker::{
    StateStore,
    store::{HistoryRecord, StoreError},
};

use super::random::Random;

/// How long a slow write takes.
const SLOW: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    Even,
    /// Answers nothing until the temper changes.
    Hung,
    /// Writes take five seconds.
    Slow,
    /// Three operations of ten fail.
    Errs,
    /// Writes fail as they do on a full disk (ENOSPC): for machines where none can be mounted.
    Full,
}

#[derive(Clone)]
pub(crate) struct Tempered {
    inner: Arc<dyn StateStore>,
    mood: Arc<Mood>,
}

struct Mood {
    temper: Mutex<Temper>,
    changed: Condvar,
    random: Mutex<Random>,
}

impl Tempered {
    pub(crate) fn around(inner: Arc<dyn StateStore>) -> Self {
        let mood = Mood {
            temper: Mutex::new(Temper::Even),
            changed: Condvar::new(),
            random: Mutex::new(Random::new(30)),
        };
        Self { inner, mood: Arc::new(mood) }
    }

    pub(crate) fn set(&self, temper: Temper) {
        *self.mood.temper.lock().unwrap() = temper;
        self.mood.changed.notify_all();
    }

    fn ask<T>(
        &self,
        writes: bool,
        job: impl FnOnce(&dyn StateStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let temper = self.mood.temper.lock().unwrap();
        let hung = |temper: &mut Temper| *temper == Temper::Hung;
        let temper = *self.mood.changed.wait_while(temper, hung).unwrap();
        match temper {
            Temper::Slow if writes => std::thread::sleep(SLOW),
            Temper::Errs => self.err_at_random()?,
            Temper::Full if writes => {
                let full = io::Error::from_raw_os_error(28);
                return Err(StoreError::Unavailable(full.into()));
            }
            _ => {}
        }
        job(&*self.inner)
    }

    fn err_at_random(&self) -> Result<(), StoreError> {
        const REASON: &str = "an error at random";
        match self.mood.random.lock().unwrap().below(100) {
            0..10 => Err(StoreError::Unavailable(REASON.into())),
            10..30 => Err(StoreError::Other(REASON.into())),
            _ => Ok(()),
        }
    }
}

impl StateStore for Tempered {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.ask(false, |inner| inner.load(key))
    }

    fn load_all(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.ask(false, StateStore::load_all)
    }

    fn save(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.ask(true, |inner| inner.save(key, value))
    }

    fn save_all(&self, entries: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        self.ask(true, |inner| inner.save_all(entries))
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.ask(true, |inner| inner.delete(key))
    }

    fn append(&self, key: &str, records: &[HistoryRecord]) -> Result<(), StoreError> {
        self.ask(true, |inner| inner.append(key, records))
    }

    fn append_all(&self, histories: &[(String, Vec<HistoryRecord>)]) -> Result<(), StoreError> {
        self.ask(true, |inner| inner.append_all(histories))
    }

    fn history(
        &self,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>, StoreError> {
        self.ask(false, |inner| inner.history(key, before, limit))
    }

    fn history_keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        self.ask(false, |inner| inner.history_keys(after, limit))
    }

    fn trim(&self, key: &str, older_than: u64, keep: usize) -> Result<(), StoreError> {
        self.ask(true, |inner| inner.trim(key, older_than, keep))
    }

    fn instance(&self) -> usize {
        self.inner.instance()
    }

    fn label(&self) -> &str {
        self.inner.label()
    }
}
