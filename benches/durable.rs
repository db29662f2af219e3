//! How soon a transition is durable in sled without an explicit flush: the time from the transition
//! to the end of the write that contains it, on an idle store and while 10,000 other breakers
//! change state and are stored in it.
//!
//! `cargo bench --bench durable`

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use tower_breaker::{
    Breaker, Config, SledStore,
    store::{HistoryStore, SaveEntry, StateStore, StoreError},
};

const TRANSITIONS: usize = 300;
const OTHERS: usize = 10_000;
const KEY: &str = "circuit_breaker:measured:state";

/// Reports when the state of the measured breaker is saved.
#[derive(Clone)]
struct ObservedStore {
    inner: SledStore,
    saved: Arc<Mutex<mpsc::Sender<Instant>>>,
}

impl ObservedStore {
    fn report(&self, keys: impl IntoIterator<Item = impl AsRef<str>>) {
        if keys.into_iter().any(|key| key.as_ref() == KEY) {
            let _ = self.saved.lock().expect("no thread panics").send(Instant::now());
        }
    }
}

impl StateStore for ObservedStore {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.load(key)
    }
    fn load_page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.inner.load_page(after, limit)
    }
    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.inner.save(entry).inspect(|()| self.report([&entry.key]))
    }
    fn save_all(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        let keys = || entries.iter().map(|entry| &entry.key);
        self.inner.save_all(entries).inspect(|()| self.report(keys()))
    }
    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key)
    }
    fn history(&self) -> Option<&dyn HistoryStore> {
        self.inner.history()
    }
    fn id(&self) -> usize {
        self.inner.id()
    }
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let (sender, saved) = mpsc::channel();
    let inner = SledStore::open(folder.path()).expect("a store");
    let store = ObservedStore { inner, saved: Arc::new(Mutex::new(sender)) };
    let config = Arc::new(Config::default());
    let build = |name: String| {
        let builder = Breaker::builder(name).config(Arc::clone(&config));
        builder.store(store.clone()).build().expect("a breaker")
    };
    let measured = build("measured".to_owned());
    let others: Vec<Breaker> = (0..OTHERS).map(|number| build(format!("other {number}"))).collect();

    println!("Milliseconds until a transition is durable, over {TRANSITIONS} transitions.\n");
    println!("| | 50% | 99% | longest |");
    println!("|---|--:|--:|--:|");
    let alone = delays(&measured, &saved);
    row("idle", &alone);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| flap(&others, &stop));
        thread::sleep(Duration::from_millis(100));
        row("10,000 others change state", &delays(&measured, &saved));
        stop.store(true, Ordering::Relaxed);
    });
}

/// Opens and resets each breaker about once a second.
fn flap(others: &[Breaker], stop: &AtomicBool) {
    for batch in others.chunks(100).cycle() {
        for breaker in batch {
            breaker.force_open();
            breaker.reset();
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn delays(breaker: &Breaker, saved: &mpsc::Receiver<Instant>) -> Vec<Duration> {
    let mut delays: Vec<Duration> = (0..TRANSITIONS)
        .map(|number| {
            thread::sleep(Duration::from_millis(10));
            while saved.try_recv().is_ok() {}
            let began = Instant::now();
            if number % 2 == 0 {
                breaker.force_open();
            } else {
                breaker.reset();
            }
            let saved =
                saved.recv_timeout(Duration::from_secs(10)).expect("the transition is saved");
            saved.duration_since(began)
        })
        .collect();
    delays.sort_unstable();
    delays
}

fn row(name: &str, delays: &[Duration]) {
    let at = |percent: usize| delays[(delays.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!("| {name} | {:.2} | {:.2} | {:.2} |", at(50), at(99), at(100));
}
