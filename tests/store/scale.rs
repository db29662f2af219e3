//! Measurements with large numbers of breakers, for an idle machine and a release build. They are
//! ignored unless run with
//! `cargo test --release --test store scale -- --ignored --nocapture --test-threads=1`.
//!
//! Other bounds, in seconds: `RESTORE_BOUND`, `RESTORE_REDIS_BOUND`, `SICK_STORE_BOUND`.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::support::{
    bound::bound,
    redis::RedisServer,
    sick_store::{SickStore, Symptom},
};
use tower_breaker::{
    Breaker, Config, SledStore, State, StateStore, Trip,
    history::HistoryQuery,
    store::{RedisStore, SaveEntry},
};

/// The snapshots of an open and of a closed circuit, both with failures.
fn snapshots() -> [String; 2] {
    let breaker = Breaker::builder("scale").recovery_timeout(Duration::from_secs(3600)).build();
    let breaker = breaker.unwrap();
    for _ in 0..4 {
        breaker.try_acquire().unwrap().failure();
    }
    let closed = breaker.snapshot().to_json().unwrap();
    breaker.try_acquire().unwrap().failure();
    assert_eq!(breaker.state(), State::Open);
    [closed, breaker.snapshot().to_json().unwrap()]
}

#[test]
#[ignore = "a measurement"]
fn a_hundred_thousand_breakers_are_restored_within_half_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let took = restore(|| SledStore::open(folder.path()).unwrap());
    assert!(took.as_secs_f64() < bound("RESTORE_BOUND", 0.5), "{took:?}");
}

#[test]
#[ignore = "a measurement"]
fn a_hundred_thousand_breakers_are_restored_from_redis_within_a_second() {
    let Some(server) = RedisServer::start() else { return };
    let took = restore(|| RedisStore::open(&server.url()).unwrap());
    println!("{}", server.command(&["INFO", "memory"]).lines().nth(2).unwrap_or_default());
    assert!(took.as_secs_f64() < bound("RESTORE_REDIS_BOUND", 1.0), "{took:?}");
}

/// Returns how long the start of a process with many breakers takes.
fn restore<S: StateStore + Clone>(open: impl Fn() -> S) -> Duration {
    const BREAKERS: usize = 100_000;
    let snapshots = snapshots();
    let store = open();
    let entries: Vec<_> = (0..BREAKERS)
        .map(|n| SaveEntry::new(format!("circuit_breaker:{n}:state"), snapshots[n % 2].as_str()))
        .collect();
    store.save_all(&entries).unwrap();
    drop(store);

    let mut config = Config::default();
    config.recovery_timeout = Duration::from_secs(3600);
    let config = Arc::new(config);
    let names: Vec<String> = (0..BREAKERS).map(|n| n.to_string()).collect();
    let began = (Instant::now(), cpu_time());
    let store = open();
    let mut breakers = Vec::with_capacity(BREAKERS);
    let mut slowest = Duration::ZERO;
    let mut first = (Duration::ZERO, Duration::ZERO);
    for name in &names {
        let built = Instant::now();
        let builder = Breaker::builder(name).config(Arc::clone(&config));
        breakers.push(builder.store(store.clone()).build().unwrap());
        slowest = slowest.max(built.elapsed());
        if breakers.len() == 1000 {
            first = (began.0.elapsed(), cpu_time().saturating_sub(began.1));
        }
    }
    let (took, cpu) = (began.0.elapsed(), cpu_time().saturating_sub(began.1));
    println!(
        "{BREAKERS} breakers in {took:?}, {cpu:?} of it at work on this thread; \
         the first 1,000 of them in {:?} and {:?}; the slowest in {slowest:?}",
        first.0, first.1,
    );
    for (n, breaker) in breakers.iter().enumerate() {
        let stats = (breaker.state(), breaker.stats().consecutive_failures());
        let expected = if n % 2 == 0 { (State::Closed, 4) } else { (State::Open, 5) };
        assert_eq!(stats, expected, "{n}");
    }
    // Otherwise each would save its last state, one after the other.
    std::mem::forget(breakers);
    took
}

#[test]
#[ignore = "a measurement"]
fn a_hundred_thousand_breakers_are_built_and_dropped_within_1_5_s_on_a_sick_store() {
    let mut slowest = Duration::ZERO;
    for symptom in [Symptom::Fails, Symptom::DiskIsFull, Symptom::Hangs] {
        for when in [When::First, When::BeforeDrops] {
            for change in [Changed::One, Changed::All] {
                slowest = slowest.max(build_and_drop(symptom, when, change));
            }
        }
    }
    assert!(slowest.as_secs_f64() < bound("SICK_STORE_BOUND", 1.5), "{slowest:?}");
}

/// When the store becomes sick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    First,
    BeforeDrops,
}

/// How many breakers have something to save when they are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Changed {
    One,
    All,
}

fn build_and_drop(symptom: Symptom, when: When, change: Changed) -> Duration {
    const BREAKERS: usize = 100_000;
    let config = Arc::new(Config::default());
    let names: Vec<String> = (0..BREAKERS).map(|n| n.to_string()).collect();
    let store = SickStore::default();
    if when == When::First {
        store.show(symptom);
    }
    let began = (Instant::now(), cpu_time());
    let took = || (began.0.elapsed(), cpu_time().saturating_sub(began.1));
    let mut breakers = Vec::with_capacity(BREAKERS);
    for name in &names {
        let builder = Breaker::builder(name).config(Arc::clone(&config));
        breakers.push(builder.store(store.clone()).build().unwrap());
    }
    let built = took();
    store.show(symptom);
    if change == Changed::All {
        for breaker in &breakers {
            breaker.try_acquire().unwrap().failure();
        }
    }
    breakers[0].force_open();
    drop(breakers);
    let dropped = took();
    println!(
        "{symptom:?} {when:?}, {change:?} changed: built in {:?} ({:?} of it at work on this \
         thread), built and dropped in {:?} ({:?})",
        built.0, built.1, dropped.0, dropped.1,
    );
    store.heal();
    dropped.0
}

/// The CPU time of this thread, if the system reports it.
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let sizes = entries.map(|entry| match entry.metadata().unwrap() {
        folder if folder.is_dir() => size_of(&entry.path()),
        file => file.len(),
    });
    sizes.sum()
}

/// The number of rounds of transitions, each of 100 breakers.
fn rounds() -> usize {
    std::env::var("SCALE_ROUNDS").map_or(10_000, |rounds| rounds.parse().unwrap())
}

#[test]
#[ignore = "a measurement"]
fn a_million_transitions_of_a_hundred_breakers_take_less_than_64_megabytes() {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(folder.path()).unwrap();
    let build = |n: usize| {
        let builder = Breaker::builder(format!("breaker-{n}")).store(store.clone());
        builder.trip_on(Trip::consecutive_failures(1)).build().unwrap()
    };
    let breakers: Vec<Breaker> = (0..100).map(build).collect();
    let began = Instant::now();
    let mut largest = 0;
    for round in 0..rounds() {
        for breaker in &breakers {
            if round % 2 == 0 {
                breaker.try_acquire().unwrap().failure();
            } else {
                breaker.reset();
            }
        }
        // So that each is written, all that are marked with the one that asks: they would be
        // counted only, if they came faster than that.
        breakers[round % 100].flush_blocking(Duration::from_secs(60)).unwrap();
        if round % 500 == 499 {
            let size = size_of(folder.path());
            largest = largest.max(size);
            println!("after {} transitions: {} KB", (round + 1) * 100, size >> 10);
        }
    }
    println!("in {:?}", began.elapsed());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for breaker in &breakers {
        let page = runtime.block_on(breaker.history(HistoryQuery::newest(1000))).unwrap();
        assert!((500..1000).contains(&page.entries.len()), "{}", page.entries.len());
        assert_eq!(page.entries.iter().map(|entry| entry.missed).sum::<u64>(), 0);
    }
    drop(breakers);
    drop(store);
    let size = size_of(folder.path());
    println!("at the end: {} KB, at most {} KB", size >> 10, largest >> 10);
    assert!(size.max(largest) < 64_000_000);
}
