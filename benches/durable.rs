//! How soon a transition is durable without an explicit flush: the time from the transition to the
//! end of the write that contains it, on an idle store and while 10,000 other breakers change state
//! and are stored in it. For sled also without `fdatasync`, as sled itself would acknowledge.
//!
//! `cargo bench --bench durable`

#[path = "../tests/support/pass_on.rs"]
mod pass_on;
#[path = "unsynced/mod.rs"]
mod unsynced;

use std::{
    path::Path,
    slice,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use tower_breaker::{
    Breaker, Config, FileStore, SledStore,
    store::{HistoryStore, SaveEntry, StateStore, StoreError},
};

use crate::{pass_on::pass_on, unsynced::Unsynced};

const TRANSITIONS: usize = 300;
const OTHERS: usize = 10_000;
const KEY: &str = "circuit_breaker:measured:state";

/// When the measured breaker was saved, and its snapshot.
type Saved = (Instant, Vec<u8>);

/// Reports when the state of the measured breaker is saved.
#[derive(Clone)]
struct ObservedStore {
    inner: Arc<dyn StateStore>,
    saved: Arc<Mutex<mpsc::Sender<Saved>>>,
    keeps_histories: bool,
}

impl ObservedStore {
    fn report(&self, entries: &[SaveEntry]) {
        let at = Instant::now();
        if let Some(entry) = entries.iter().find(|entry| entry.key == KEY) {
            let saved = self.saved.lock().expect("no thread panics");
            let _ = saved.send((at, entry.value.clone()));
        }
    }
}

impl StateStore for ObservedStore {
    pass_on!(load, load_page, delete, id);

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        self.inner.save(entry).inspect(|()| self.report(slice::from_ref(entry)))
    }
    fn save_all(&self, entries: &[SaveEntry]) -> Result<(), StoreError> {
        self.inner.save_all(entries).inspect(|()| self.report(entries))
    }
    fn history(&self) -> Option<&dyn HistoryStore> {
        self.inner.history().filter(|_| self.keeps_histories)
    }
}

type Open = fn(&Path) -> Arc<dyn StateStore>;

const UNSYNCED: Open = |folder| Arc::new(Unsynced::open(folder));
const SLED: Open = |folder| Arc::new(SledStore::open(folder).expect("a store"));
const FILE: Open = |folder| Arc::new(FileStore::open(folder).expect("a store"));
#[cfg(feature = "redb")]
const REDB: Open =
    |folder| Arc::new(tower_breaker::store::RedbStore::open(folder).expect("a store"));

fn main() {
    println!("Milliseconds until a transition is durable, over {TRANSITIONS} transitions.\n");
    println!("| store | alone: 50% | 99% | longest | beside others: 50% | 99% | longest |");
    println!("|---|--:|--:|--:|--:|--:|--:|");
    row("sled, without fdatasync", UNSYNCED, OTHERS, false);
    row("sled", SLED, OTHERS, false);
    row("sled, with histories", SLED, OTHERS, true);
    #[cfg(feature = "redb")]
    row("redb", REDB, OTHERS, false);
    // A file for each of 10,000 breakers, several times a second, is more than a disk can sync.
    row("files", FILE, 0, false);
}

fn row(name: &str, open: Open, others: usize, keeps_histories: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let (sender, saved) = mpsc::channel();
    let store = ObservedStore {
        inner: open(folder.path()),
        saved: Arc::new(Mutex::new(sender)),
        keeps_histories,
    };
    let config = Arc::new(Config::default());
    let build = |name: String| {
        let builder = Breaker::builder(name).config(Arc::clone(&config));
        builder.store(store.clone()).build().expect("a breaker")
    };
    let measured = build("measured".to_owned());
    let others: Vec<Breaker> = (0..others).map(|number| build(format!("other {number}"))).collect();
    let alone = figures(&delays(&measured, &saved));
    if others.is_empty() {
        println!("| {name} | {alone} | - | - | - |");
        return;
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| flap(&others, &stop));
        thread::sleep(Duration::from_millis(100));
        let beside = figures(&delays(&measured, &saved));
        stop.store(true, Ordering::Relaxed);
        println!("| {name} | {alone} | {beside} |");
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

fn delays(breaker: &Breaker, saved: &mpsc::Receiver<Saved>) -> Vec<Duration> {
    let mut delays: Vec<Duration> = (0..TRANSITIONS)
        .map(|number| {
            thread::sleep(Duration::from_millis(10));
            while saved.try_recv().is_ok() {}
            let began = Instant::now();
            let state = if number % 2 == 0 {
                breaker.force_open();
                r#""state":"forced_open""#
            } else {
                breaker.reset();
                r#""state":"closed""#
            };
            // A save that was under way may hold the state before.
            loop {
                let saved = saved.recv_timeout(Duration::from_secs(10));
                let (at, snapshot) = saved.expect("the transition is saved");
                if String::from_utf8_lossy(&snapshot).contains(state) {
                    return at.duration_since(began);
                }
            }
        })
        .collect();
    delays.sort_unstable();
    delays
}

fn figures(delays: &[Duration]) -> String {
    let at = |percent: usize| delays[(delays.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    format!("{:.2} | {:.2} | {:.2}", at(50), at(99), at(100))
}
