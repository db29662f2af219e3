//! A store around another one, with faults that no disk has at the touch of a button.

use std::{
    io,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use tower_breaker::{
    StateStore,
    store::{HistoryRecord, HistoryStore, SaveEntry, StoreError},
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

    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.ask(false, |inner| inner.load_page(after, limit))
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.ask(true, |inner| inner.save(entry))
    }

    fn save_all(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        self.ask(true, |inner| inner.save_all(entries))
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.ask(true, |inner| inner.delete(key))
    }

    fn history(&self) -> Option<&dyn HistoryStore> {
        self.inner.history().map(|_| self as &dyn HistoryStore)
    }

    fn id(&self) -> usize {
        self.inner.id()
    }

    fn label(&self) -> &str {
        self.inner.label()
    }
}

impl Tempered {
    fn ask_history<T>(
        &self,
        writes: bool,
        job: impl FnOnce(&dyn HistoryStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.ask(writes, |inner| job(inner.history().expect("it keeps histories")))
    }
}

impl HistoryStore for Tempered {
    fn append(&self, key: &str, records: &[HistoryRecord]) -> Result<(), StoreError> {
        self.ask_history(true, |inner| inner.append(key, records))
    }

    fn append_all(&self, histories: &[(String, Vec<HistoryRecord>)]) -> Result<(), StoreError> {
        self.ask_history(true, |inner| inner.append_all(histories))
    }

    fn load_newest(
        &self,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>, StoreError> {
        self.ask_history(false, |inner| inner.load_newest(key, before, limit))
    }

    fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        self.ask_history(false, |inner| inner.keys(after, limit))
    }

    fn trim(&self, key: &str, older_than: u64, keep: usize) -> Result<(), StoreError> {
        self.ask_history(true, |inner| inner.trim(key, older_than, keep))
    }
}
