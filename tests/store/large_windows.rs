//! Large windows: what is written is worth what has changed.

use std::time::Duration;

use tower_breaker::{
    Breaker, BreakerBuilder, MemoryStore, State, StateStore, Trip, Window,
    clock::ManualClock,
    snapshot::Snapshot,
    store::{SaveEntry, StoreError},
};

use crate::support::{
    sick_store::{SickStore, Symptom},
    wait::{MINUTE, eventually},
};

const SIZE: u32 = 20_000;
const WHOLE: &str = "circuit_breaker:large:state";
const RECENT: &str = "circuit_breaker:large:recent";

struct Large {
    store: SickStore,
    clock: ManualClock,
    breaker: Breaker,
}

fn builder(clock: &ManualClock) -> BreakerBuilder {
    Breaker::builder("large")
        .trip_on(Trip::failure_rate(1.0, Window::calls(SIZE)).minimum_calls(SIZE))
        .trip_on(Trip::slow_call_rate(1.0, MINUTE, Window::time(MINUTE)))
        // So that only a flush saves.
        .flush_interval(MINUTE * 60)
        .clock(clock.clone())
}

/// Calls whose results no run lengths make short.
fn alternate(breaker: &Breaker, calls: u32) {
    for number in 0..calls {
        let permit = breaker.try_acquire().unwrap();
        if number % 2 == 0 { permit.failure() } else { permit.success() }
    }
}

impl Large {
    /// A breaker with a full window that is saved whole.
    fn new() -> Self {
        let (store, clock) = (SickStore::default(), ManualClock::new());
        let breaker = builder(&clock).store(store.clone()).build().unwrap();
        alternate(&breaker, SIZE);
        let large = Self { store, clock, breaker };
        let saved = large.flush();
        assert_eq!(saved.key, WHOLE);
        // A third of a byte for each call, and the rest of the snapshot.
        let bytes = 5_000..10_000;
        assert!(bytes.contains(&saved.value.len()), "{} bytes", saved.value.len());
        large
    }

    /// What is written, which is everything that a restart needs.
    fn flush(&self) -> SaveEntry {
        self.breaker.flush_blocking(MINUTE).unwrap();
        let restored = builder(&self.clock).store(self.crashed().unwrap()).build().unwrap();
        assert_eq!(restored.snapshot(), self.breaker.snapshot());
        self.store.last_save().unwrap()
    }

    /// What the store holds after a crash.
    fn crashed(&self) -> Result<MemoryStore, StoreError> {
        let copy = MemoryStore::new();
        for (key, value) in self.store.inner.load_page(None, 100)? {
            copy.save(&SaveEntry::new(key, value))?;
        }
        Ok(copy)
    }
}

#[test]
fn few_calls_are_written_in_few_bytes() {
    let large = Large::new();
    for calls in [1, 10, 100, 0, 300, 7] {
        alternate(&large.breaker, calls);
        large.clock.advance(Duration::from_millis(10));
        let saved = large.flush();
        assert_eq!(saved.key, RECENT);
        assert!(saved.value.len() < 1500, "{} bytes", saved.value.len());
    }
}

#[test]
fn many_calls_are_written_whole() {
    let large = Large::new();
    let saved: Vec<_> = (0..9)
        .map(|_| {
            alternate(&large.breaker, 400);
            large.flush()
        })
        .collect();
    // After each 1,250 calls.
    let whole = saved.iter().map(|saved| saved.key == WHOLE);
    assert_eq!(
        whole.collect::<Vec<_>>(),
        [false, false, false, true, false, false, false, true, false]
    );
}

#[test]
fn a_transition_is_written_whole() {
    let large = Large::new();
    alternate(&large.breaker, 10);
    assert_eq!(large.flush().key, RECENT);
    let whole = || Snapshot::from_json(large.store.stored("large").as_bytes()).unwrap();
    assert_eq!(whole().state, State::Closed);
    large.breaker.force_open();
    eventually("it is written", || whole().state == State::ForcedOpen);
    assert_eq!(whole().windows, large.breaker.snapshot().windows);
    large.breaker.reset();
    large.flush();
    assert!(large.store.stored("large").len() < 1500, "an empty window takes few bytes");
}

#[test]
fn an_early_reader_knows_what_was_written_whole() {
    let large = Large::new();
    let whole = large.breaker.snapshot();
    alternate(&large.breaker, 10);
    large.flush();
    let store = large.crashed().unwrap();
    store.delete(RECENT).unwrap();
    let restored = builder(&large.clock).store(store).build().unwrap();
    assert_eq!(restored.snapshot(), whole);
}

#[test]
fn what_continues_an_older_snapshot_is_ignored() {
    let large = Large::new();
    alternate(&large.breaker, 10);
    large.flush();
    let recent = large.store.inner.load(RECENT).unwrap();
    alternate(&large.breaker, 5_000);
    assert_eq!(large.flush().key, WHOLE);
    assert_eq!(large.store.inner.load(RECENT).unwrap(), recent);
}

#[test]
fn unreadable_recent_counts_cost_only_themselves() {
    let large = Large::new();
    let whole = large.breaker.snapshot();
    for damaged in [&b"{"[..], b"", b"\xff", br#"{"version": 7}"#] {
        let store = large.crashed().unwrap();
        store.save(&SaveEntry::new(RECENT, damaged)).unwrap();
        let restored = builder(&large.clock).store(store).build().unwrap();
        assert_eq!(restored.snapshot(), whole);
    }
}

#[test]
fn after_a_failed_save_everything_is_written() {
    let large = Large::new();
    for _ in 0..2 {
        let before = large.store.stored("large");
        alternate(&large.breaker, 10);
        large.store.show(Symptom::Fails);
        large.breaker.flush_blocking(MINUTE).unwrap_err();
        large.store.heal();
        eventually("everything is written", || large.store.stored("large") != before);
        eventually("the store is healthy", || large.breaker.store_health().is_healthy());
        large.flush();
    }
}

#[test]
fn windows_that_an_update_keeps_are_not_written_again() {
    let large = Large::new();
    alternate(&large.breaker, 10);
    let mut config = (*large.breaker.config()).clone();
    config.recovery_timeout = MINUTE * 2;
    large.breaker.update(config).unwrap();
    assert_eq!(large.flush().key, RECENT);
    alternate(&large.breaker, 10);
    assert_eq!(large.flush().key, RECENT);
}

#[test]
fn a_window_of_another_size_is_written_whole() {
    let large = Large::new();
    for size in [SIZE + 1, SIZE - 1] {
        let rule = Trip::failure_rate(1.0, Window::calls(size)).minimum_calls(size);
        let mut config = (*large.breaker.config()).clone();
        config.trip_on[0] = rule;
        large.breaker.update(config.clone()).unwrap();
        alternate(&large.breaker, 10);
        large.breaker.flush_blocking(MINUTE).unwrap();
        assert_eq!(large.store.last_save().unwrap().key, WHOLE);
        let restored = Breaker::builder("large").config(config).clock(large.clock.clone());
        let restored = restored.store(large.crashed().unwrap()).build().unwrap();
        assert_eq!(restored.snapshot(), large.breaker.snapshot());
    }
}

#[test]
fn a_drop_writes_everything() {
    let large = Large::new();
    alternate(&large.breaker, 10);
    large.flush();
    alternate(&large.breaker, 10);
    let before = large.breaker.snapshot();
    let Large { store, clock, breaker } = large;
    drop(breaker);
    assert_eq!(store.last_save().unwrap().key, WHOLE);
    let restored = builder(&clock).store(store).build().unwrap();
    assert_eq!(restored.snapshot(), before);
}

#[test]
fn a_breaker_among_many_is_restored_with_its_newest_calls() {
    let large = Large::new();
    alternate(&large.breaker, 10);
    large.flush();
    let store = large.crashed().unwrap();
    let others: Vec<_> = (0..200)
        .map(|number| {
            Breaker::builder(format!("other {number}")).store(store.clone()).build().unwrap()
        })
        .collect();
    let restored = builder(&large.clock).store(store).build().unwrap();
    eventually("it is restored", || restored.snapshot() == large.breaker.snapshot());
    drop(others);
}
