//! A store that shows symptoms on demand.

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread::ThreadId,
    time::Duration,
};

use tower_breaker::{
    MemoryStore, StateStore,
    store::{HistoryRecord, HistoryStore, SaveEntry, StoreError},
};

use super::random::Random;

/// How long a slow write takes.
const SLOW: Duration = Duration::from_secs(5);
/// The error number of a full disk on Linux.
const ENOSPC: i32 = 28;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Symptom {
    None,
    /// No operation returns until the symptom changes.
    Hangs,
    /// Writes take five seconds.
    WritesSlowly,
    Fails,
    /// Operations on histories fail. What is to be appended is stored anyway: an error says
    /// nothing about what was stored.
    FailsForHistories,
    /// Three operations of ten fail, half of them after they were done.
    FailsAtRandom,
    /// Writes fail like on a full disk, for machines on which none can be mounted.
    DiskIsFull,
    Panics,
}

/// A store around another one, whose clones share symptoms and counts.
#[derive(Clone)]
pub(crate) struct SickStore {
    /// The store without symptoms.
    pub(crate) inner: Arc<dyn StateStore>,
    state: Arc<State>,
}

struct State {
    symptom: Mutex<Symptom>,
    changed: Condvar,
    random: Mutex<Random>,
    saves: AtomicUsize,
    last_save: Mutex<Option<SaveEntry>>,
    threads: Mutex<HashSet<ThreadId>>,
}

/// What an operation does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Read,
    Write,
}

impl Default for SickStore {
    fn default() -> Self {
        Self::around(Arc::new(MemoryStore::new()))
    }
}

impl SickStore {
    /// A store in memory with this label in metrics.
    pub(crate) fn labelled(label: &str) -> Self {
        Self::around(Arc::new(MemoryStore::new().with_label(label)))
    }

    pub(crate) fn around(inner: Arc<dyn StateStore>) -> Self {
        let state = State {
            symptom: Mutex::new(Symptom::None),
            changed: Condvar::new(),
            random: Mutex::new(Random::new(30)),
            saves: AtomicUsize::new(0),
            last_save: Mutex::new(None),
            threads: Mutex::default(),
        };
        Self { inner, state: Arc::new(state) }
    }

    pub(crate) fn show(&self, symptom: Symptom) {
        *self.state.symptom.lock().unwrap() = symptom;
        self.state.changed.notify_all();
    }

    pub(crate) fn heal(&self) {
        self.show(Symptom::None);
    }

    /// The number of threads that have called the store.
    pub(crate) fn threads(&self) -> usize {
        self.state.threads.lock().unwrap().len()
    }

    /// The number of snapshots that it was asked to save.
    pub(crate) fn saves(&self) -> usize {
        self.state.saves.load(SeqCst)
    }

    pub(crate) fn last_save(&self) -> Option<SaveEntry> {
        self.state.last_save.lock().unwrap().clone()
    }

    /// The stored snapshot of a breaker.
    pub(crate) fn stored(&self, name: &str) -> String {
        let value = self.inner.load(&format!("circuit_breaker:{name}:state")).unwrap();
        String::from_utf8(value.unwrap_or_default()).unwrap()
    }

    /// Whether no other clone is left, such as that of a writer thread.
    pub(crate) fn is_last(&self) -> bool {
        Arc::strong_count(&self.state) == 1
    }

    fn run<T>(
        &self,
        operation: Operation,
        job: impl FnOnce(&dyn StateStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.state.threads.lock().unwrap().insert(std::thread::current().id());
        match self.symptom() {
            Symptom::WritesSlowly if operation == Operation::Write => std::thread::sleep(SLOW),
            Symptom::Fails => return Err(StoreError::Other("the store is sick".into())),
            Symptom::FailsAtRandom => {
                if let Some((error, is_done)) = self.error_at_random() {
                    return if is_done { job(&*self.inner).and(Err(error)) } else { Err(error) };
                }
            }
            Symptom::DiskIsFull if operation == Operation::Write => {
                let full = io::Error::from_raw_os_error(ENOSPC);
                return Err(StoreError::Unavailable(full.into()));
            }
            // Without a panic hook: printing a backtrace can take longer than a store may.
            Symptom::Panics => std::panic::resume_unwind(Box::new("the store is sick")),
            _ => {}
        }
        job(&*self.inner)
    }

    fn run_on_history<T>(
        &self,
        operation: Operation,
        job: impl FnOnce(&dyn HistoryStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.run(operation, |inner| {
            let fails = self.symptom() == Symptom::FailsForHistories;
            if fails && operation == Operation::Read {
                return Err(StoreError::Other("the histories are sick".into()));
            }
            let done = job(inner.history().expect("the inner store keeps histories"))?;
            if fails { Err(StoreError::Other("the histories are sick".into())) } else { Ok(done) }
        })
    }

    /// The present symptom, once the store does not hang.
    fn symptom(&self) -> Symptom {
        let symptom = self.state.symptom.lock().unwrap();
        let hangs = |symptom: &mut Symptom| *symptom == Symptom::Hangs;
        *self.state.changed.wait_while(symptom, hangs).unwrap()
    }

    /// Perhaps an error, and whether the operation is done anyway.
    fn error_at_random(&self) -> Option<(StoreError, bool)> {
        const REASON: &str = "an error at random";
        let mut random = self.state.random.lock().unwrap();
        let error = match random.below(100) {
            0..10 => StoreError::Unavailable(REASON.into()),
            10..30 => StoreError::Other(REASON.into()),
            _ => return None,
        };
        Some((error, random.below(2) == 0))
    }

    fn count_saves(&self, entries: &[SaveEntry]) {
        self.state.saves.fetch_add(entries.len(), SeqCst);
        if let Some(last) = entries.last() {
            *self.state.last_save.lock().unwrap() = Some(last.clone());
        }
    }
}

impl StateStore for SickStore {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.run(Operation::Read, |inner| inner.load(key))
    }

    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.run(Operation::Read, |inner| inner.load_page(after, limit))
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.count_saves(std::slice::from_ref(entry));
        self.run(Operation::Write, |inner| inner.save(entry))
    }

    fn save_all(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        self.count_saves(entries);
        self.run(Operation::Write, |inner| inner.save_all(entries))
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.run(Operation::Write, |inner| inner.delete(key))
    }

    fn history(&self) -> Option<&dyn HistoryStore> {
        self.inner.history().is_some().then_some(self)
    }

    fn verify(&self) -> Result<(), StoreError> {
        self.run(Operation::Read, StateStore::verify)
    }

    fn last_repair(&self) -> Option<String> {
        self.inner.last_repair()
    }

    fn id(&self) -> usize {
        self.inner.id()
    }

    fn label(&self) -> &str {
        self.inner.label()
    }
}

impl HistoryStore for SickStore {
    fn append(&self, key: &str, records: &[HistoryRecord]) -> Result<(), StoreError> {
        self.run_on_history(Operation::Write, |inner| inner.append(key, records))
    }

    fn append_all(&self, histories: &[(String, Vec<HistoryRecord>)]) -> Result<(), StoreError> {
        self.run_on_history(Operation::Write, |inner| inner.append_all(histories))
    }

    fn load_newest(
        &self,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>, StoreError> {
        self.run_on_history(Operation::Read, |inner| inner.load_newest(key, before, limit))
    }

    fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        self.run_on_history(Operation::Read, |inner| inner.keys(after, limit))
    }

    fn trim(&self, key: &str, older_than: u64, keep: usize) -> Result<(), StoreError> {
        self.run_on_history(Operation::Write, |inner| inner.trim(key, older_than, keep))
    }
}
