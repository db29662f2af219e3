//! The last state of a breaker that is dropped while its store is busy.

use std::time::Duration;

use tower_breaker::{Breaker, State, snapshot::Snapshot};

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
