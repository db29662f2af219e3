//! A group with a store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tower_breaker::{Breaker, Event, KeyedBreakers, MemoryStore, State, StateStore, event::Reason};

use crate::support::{
    sick_store::{SickStore, Symptom},
    wait::eventually,
};

fn group(name: &str, store: &(impl StateStore + Clone)) -> KeyedBreakers {
    KeyedBreakers::builder(name).store(store.clone()).max_breakers(100).build().unwrap()
}

fn fail(breaker: &Breaker, times: usize) {
    (0..times).for_each(|_| breaker.try_acquire().unwrap().failure());
}

#[test]
fn an_open_key_is_rejected_by_the_first_call_after_a_restart() {
    let store = MemoryStore::new();
    let hosts = group("hosts", &store);
    fail(&hosts.get_or_create("bad:8080").unwrap(), 5);
    fail(&hosts.get_or_create("failing").unwrap(), 3);
    drop(hosts);

    let hosts = group("hosts", &store);
    assert_eq!(hosts.len(), 2);
    assert_eq!(hosts.get("bad:8080").unwrap().state(), State::Open);
    hosts.get("bad:8080").unwrap().try_acquire().unwrap_err();
    assert_eq!(hosts.get("failing").unwrap().stats().consecutive_failures(), 3);
}

#[test]
fn a_key_that_was_hashed_is_restored() {
    let store = MemoryStore::new();
    let key = "long".repeat(1000);
    group("hosts", &store).get_or_create(&key).unwrap().force_open();
    assert_eq!(group("hosts", &store).get(&key).unwrap().state(), State::ForcedOpen);
}

#[test]
fn what_belongs_to_others_is_not_taken() {
    let store = MemoryStore::new();
    Breaker::builder("hosts").store(store.clone()).build().unwrap().force_open();
    let others = group("hosts:more", &store);
    others.get_or_create("a").unwrap().force_open();
    group("other", &store).get_or_create("b").unwrap().force_open();

    assert!(group("hosts", &store).is_empty());
    assert_eq!(group("other", &store).len(), 1);
}

#[test]
fn circuits_that_are_not_closed_are_restored_first() {
    let store = MemoryStore::new();
    let hosts = group("hosts", &store);
    for key in 0..20 {
        fail(&hosts.get_or_create(&format!("closed {key}")).unwrap(), 1);
    }
    for key in 0..3 {
        fail(&hosts.get_or_create(&format!("open {key}")).unwrap(), 5);
    }
    drop(hosts);

    let hosts = KeyedBreakers::builder("hosts").store(store).max_breakers(5).build().unwrap();
    let states: Vec<State> = hosts.breakers().iter().map(Breaker::state).collect();
    assert_eq!(states.len(), 5);
    assert_eq!(states.iter().filter(|state| **state == State::Open).count(), 3);
}

#[test]
fn a_restored_state_is_an_event() {
    let store = MemoryStore::new();
    group("hosts", &store).get_or_create("a").unwrap().force_open();
    let restored = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&restored);
    let builder = KeyedBreakers::builder("hosts").store(store).on_event(move |event| {
        let Event::Transition(transition) = event else { return };
        assert_eq!((transition.reason, transition.to), (Reason::Restored, State::ForcedOpen));
        counter.fetch_add(1, SeqCst);
    });
    let _hosts = builder.build().unwrap();
    assert_eq!(restored.load(SeqCst), 1);
}

/// A thousand waits for the store would take more than a quarter of an hour.
#[test]
fn calls_never_wait_for_a_store_that_hangs() {
    let store = SickStore::default();
    store.show(Symptom::Hangs);
    let hosts = KeyedBreakers::builder("hosts").store(store.clone()).max_breakers(10).build();
    let hosts = hosts.unwrap();
    let start = Instant::now();
    for key in 0..1000 {
        fail(&hosts.get_or_create(&key.to_string()).unwrap(), 1);
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(hosts.len(), 10);
    store.heal();
}

#[test]
fn a_store_that_is_slow_at_the_start_is_restored_from_later() {
    let store = SickStore::default();
    group("hosts", &store).get_or_create("bad").unwrap().force_open();
    store.show(Symptom::Hangs);
    let hosts = group("hosts", &store);
    assert!(hosts.is_empty());
    store.heal();
    eventually("it is restored", || {
        hosts.get("bad").is_some_and(|bad| bad.state() == State::ForcedOpen)
    });
}

/// A breaker that is replaced is saved in the background, and restored if its key returns.
#[test]
fn a_replaced_breaker_keeps_its_last_state_in_the_store() {
    let store = MemoryStore::new();
    let hosts =
        KeyedBreakers::builder("hosts").store(store.clone()).max_breakers(1).build().unwrap();
    fail(&hosts.get_or_create("a").unwrap(), 3);
    hosts.get_or_create("b").unwrap();
    assert!(hosts.get("a").is_none());
    eventually("its last state is saved", || {
        let value = store.load("circuit_breaker:hosts:a:state").unwrap().unwrap_or_default();
        String::from_utf8(value).unwrap().contains(r#""failure_count":3"#)
    });
}
