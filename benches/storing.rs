//! The effect of storing on calls: the duration of a call through a closed breaker on an idle
//! machine, while 10,000 other breakers change state in memory, and while they change state and
//! are stored in sled, without and with `fdatasync`.
//!
//! `cargo bench --bench storing`. The cases take turns in one run.

#[path = "unsynced/mod.rs"]
mod unsynced;

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tower_breaker::{Breaker, Config, MemoryStore, SledStore, StateStore};

use crate::unsynced::Unsynced;

const OTHERS: usize = 10_000;
const ROUNDS: usize = 7;
const CALLS: usize = 500_000;

fn main() {
    let [unsynced, synced] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let config = Arc::new(Config::default());
    let in_memory = others(&config, None::<&MemoryStore>);
    let unsynced = others(&config, Some(&Unsynced::open(unsynced.path())));
    let stored = others(&config, Some(&SledStore::open(synced.path()).expect("a store")));
    let measured = Breaker::builder("measured").build().expect("a breaker");

    let sides: [(&str, &[Breaker]); 4] = [
        ("idle", &[]),
        ("10,000 others change state in memory", &in_memory),
        ("10,000 others are stored, without fdatasync", &unsynced),
        ("10,000 others are stored", &stored),
    ];
    let mut rounds: [Vec<Percentiles>; 4] = Default::default();
    let mut flaps = [0; 4];
    for _ in 0..ROUNDS {
        for (index, (_, breakers)) in sides.iter().enumerate() {
            let (percentiles, count) = beside(breakers, || measure(&measured));
            rounds[index].push(percentiles);
            flaps[index] += count;
        }
    }
    println!("Nanoseconds per call, including the clock reads; medians of {ROUNDS} rounds.\n");
    println!("| | 50% | 99% | 99.9% | 99.99% | transitions in that time |");
    println!("|---|--:|--:|--:|--:|--:|");
    for (index, (name, _)) in sides.iter().enumerate() {
        let [a, b, c, d] = medians(&rounds[index]);
        println!("| {name} | {a} | {b} | {c} | {d} | {} |", flaps[index]);
    }
}

fn others(config: &Arc<Config>, store: Option<&(impl StateStore + Clone)>) -> Vec<Breaker> {
    let build = |number| {
        let builder = Breaker::builder(format!("other {number}")).config(Arc::clone(config));
        let builder = match store {
            Some(store) => builder.store(store.clone()),
            None => builder,
        };
        builder.build().expect("a breaker")
    };
    (0..OTHERS).map(build).collect()
}

/// Runs `work` while a thread opens and resets each of the others about once a second. Also returns
/// the number of those transitions.
fn beside<T>(others: &[Breaker], work: impl FnOnce() -> T) -> (T, u64) {
    let (stop, flaps) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            for batch in others.chunks(100).cycle() {
                for breaker in batch {
                    breaker.force_open();
                    breaker.reset();
                }
                flaps.fetch_add(2 * batch.len() as u64, Ordering::Relaxed);
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                thread::sleep(Duration::from_millis(10));
            }
        });
        // Lets the other thread start.
        thread::sleep(Duration::from_millis(50));
        let result = work();
        stop.store(true, Ordering::Relaxed);
        (result, flaps.load(Ordering::Relaxed))
    })
}

type Percentiles = [u64; 4];

fn measure(breaker: &Breaker) -> Percentiles {
    let mut times: Vec<u64> = (0..CALLS)
        .map(|_| {
            let began = Instant::now();
            black_box(breaker.try_acquire()).expect("closed").success();
            u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
        })
        .collect();
    times.sort_unstable();
    let at = |of_ten_thousand: usize| times[CALLS * of_ten_thousand / 10_000];
    [at(5_000), at(9_900), at(9_990), at(9_999)]
}

fn medians(rounds: &[Percentiles]) -> Percentiles {
    std::array::from_fn(|index| {
        let mut figures: Vec<u64> = rounds.iter().map(|percentiles| percentiles[index]).collect();
        figures.sort_unstable();
        figures[figures.len() / 2]
    })
}
