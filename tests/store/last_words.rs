//! The last state of a breaker that is dropped.

use std::time::Duration;

use tower_breaker::{
    Breaker, MemoryStore, State, StateStore, clock::ManualClock, snapshot::Snapshot,
};

use crate::support::{
    sick_store::{SickStore, Symptom},
    wait::eventually,
};

#[test]
fn a_change_during_a_save_is_saved_when_the_breaker_is_dropped() {
    let store = SickStore::default();
    let breaker = Breaker::builder("dropped").store(store.clone()).build().unwrap();
    store.show(Symptom::Hangs);
    breaker.disable();
    eventually("the first state is being saved", || store.saves() == 1);
    breaker.force_open();
    let dropping = std::thread::spawn(move || drop(breaker));
    // Enough for the drop to reach the store; otherwise the test would show less.
    std::thread::sleep(Duration::from_millis(50));
    store.heal();
    dropping.join().unwrap();
    eventually("the writer thread ends", || store.is_last());
    let newest = Snapshot::from_json(store.stored("dropped").as_bytes()).unwrap();
    assert_eq!(newest.state, State::ForcedOpen);
}

#[tokio::test]
async fn a_probe_that_is_cancelled_last_is_saved_when_the_breaker_is_dropped() {
    let (store, clock) = (MemoryStore::new(), ManualClock::new());
    let breaker = Breaker::builder("dropped").store(store.clone()).clock(clock.clone());
    let breaker = breaker.build().unwrap();
    (0..5).for_each(|_| breaker.try_acquire().unwrap().failure());
    clock.advance(Duration::from_secs(60));
    drop(breaker.try_acquire().unwrap());
    breaker.flush().await.unwrap();
    drop(breaker.try_acquire().unwrap());
    let newest = breaker.snapshot();
    assert_eq!((newest.state, newest.half_open_attempts), (State::HalfOpen, 2));
    drop(breaker);
    let stored = store.load("circuit_breaker:dropped:state").unwrap().unwrap();
    assert_eq!(Snapshot::from_json(&stored).unwrap().half_open_attempts, 2);
}
