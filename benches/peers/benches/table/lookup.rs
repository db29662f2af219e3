//! A known key's lookup in the two maps that could hold the breakers of a group.

use std::{
    hint::black_box,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use foldhash::quality::RandomState;
use quick_cache::{
    UnitWeighter,
    sync::{Cache, DefaultLifecycle},
};

use crate::{ROUNDS, THREADS, middle, topology::Topology};

/// As many breakers as a group has at most by default.
const KEYS: usize = 10_000;

/// How many lookups a measurement makes on each thread: some milliseconds.
const LOOKUPS: usize = 30 * KEYS;

/// The values are numbers, so that nothing but the map is measured.
trait Map: Sync {
    fn find(&self, key: &str) -> Option<usize>;
}

struct Papaya(papaya::HashMap<String, usize, RandomState>);

impl Map for Papaya {
    #[inline]
    fn find(&self, key: &str) -> Option<usize> {
        self.0.pin().get(key).copied()
    }
}

struct QuickCache(Cache<String, usize, UnitWeighter, RandomState>);

impl Map for QuickCache {
    #[inline]
    fn find(&self, key: &str) -> Option<usize> {
        self.0.get(key)
    }
}

/// Nanoseconds of a lookup, the hash of its key included.
pub(crate) struct Row {
    pub(crate) title: &'static str,
    pub(crate) threads: usize,
    pub(crate) papaya: f64,
    pub(crate) quick_cache: f64,
}

/// Which keys the threads look up.
const KEYS_OF_THREADS: [(&str, usize); 2] =
    [("all threads the same key", 1), ("each thread 10,000 keys in turn", KEYS)];

pub(crate) fn measure_all(topology: &Topology) -> Vec<Row> {
    let keys: Vec<String> = (0..KEYS).map(|key| format!("host-{key}.example.com")).collect();
    let papaya = Papaya(papaya::HashMap::with_hasher(RandomState::default()));
    // With room to spare: it must not evict any of them.
    let (room, hasher) = (4 * KEYS, RandomState::default());
    let lifecycle = DefaultLifecycle::default();
    let quick_cache = QuickCache(Cache::with(room, room as u64, UnitWeighter, hasher, lifecycle));
    for (value, key) in keys.iter().enumerate() {
        papaya.0.pin().insert(key.clone(), value);
        quick_cache.0.insert(key.clone(), value);
    }
    let mut rows = Vec::new();
    for (title, count) in KEYS_OF_THREADS {
        let keys = &keys[..count];
        for threads in THREADS.into_iter().filter(|threads| *threads <= topology.cores()) {
            eprintln!("lookups, {title}, {threads} thread(s) ...");
            let (mut of_papaya, mut of_quick_cache) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                of_papaya.push(measure(topology, &papaya, keys, threads));
                of_quick_cache.push(measure(topology, &quick_cache, keys, threads));
            }
            let (papaya, quick_cache) = (middle(of_papaya), middle(of_quick_cache));
            rows.push(Row { title, threads, papaya, quick_cache });
        }
    }
    rows
}

fn measure<M: Map>(topology: &Topology, map: &M, keys: &[String], threads: usize) -> f64 {
    let barrier = Barrier::new(threads);
    let times: Vec<Duration> = thread::scope(|scope| {
        let start = |thread: usize| {
            let barrier = &barrier;
            scope.spawn(move || {
                topology.pin(thread);
                barrier.wait();
                let began = Instant::now();
                look_up(map, keys);
                began.elapsed()
            })
        };
        let handles: Vec<_> = (0..threads).map(start).collect();
        handles.into_iter().map(|handle| handle.join().expect("no lookup panics")).collect()
    });
    let nanos = times.iter().map(Duration::as_nanos).sum::<u128>() as f64;
    nanos / (LOOKUPS * threads) as f64
}

/// The sum proves that every key was found.
#[inline(never)]
fn look_up<M: Map>(map: &M, keys: &[String]) {
    let mut found = 0;
    for _ in 0..LOOKUPS / keys.len() {
        for (value, key) in black_box(keys).iter().enumerate() {
            found += usize::from(map.find(key) == Some(value));
        }
    }
    assert_eq!(found, LOOKUPS, "every key is known");
}
