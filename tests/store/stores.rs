//! A breaker on its store: a store in trouble does not affect calls, and gets the newest state
//! soon.

use std::{
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use crate::support::{
    sick_store::{SickStore, Symptom},
    wait::eventually,
};
use tower_breaker::{
    Breaker, Config, Event, SledStore, State, StateStore, Trip, store::StoreHealth,
};

const LONG: Duration = Duration::from_secs(60);

fn breaker(name: &str, store: &SickStore) -> Breaker {
    let builder = Breaker::builder(name).trip_on(Trip::consecutive_failures(1));
    builder.store(store.clone()).flush_interval(Duration::from_millis(20)).build().unwrap()
}

fn trip(breaker: &Breaker) {
    breaker.try_acquire().unwrap().failure();
    assert_eq!(breaker.state(), State::Open);
}

fn is_degraded(breaker: &Breaker) -> bool {
    matches!(breaker.store_health(), StoreHealth::Degraded { .. })
}

#[tokio::test]
async fn a_flushed_state_is_stored_and_restored_by_the_next_breaker() {
    let store = SickStore::default();
    let first = breaker("flushed", &store);
    trip(&first);
    first.flush().await.unwrap();
    assert!(store.stored("flushed").contains(r#""state":"open""#));
    assert_eq!(breaker("flushed", &store).state(), State::Open);
    assert_eq!(breaker("another", &store).state(), State::Closed);
}

#[test]
fn transitions_and_counts_are_stored_without_a_flush() {
    let store = SickStore::default();
    let counting = Breaker::builder("counting").store(store.clone());
    let counting = counting.flush_interval(Duration::from_millis(20)).build().unwrap();
    counting.try_acquire().unwrap().failure();
    eventually("the count is stored", || store.stored("counting").contains(r#""failure_count":1"#));
    let tripping = breaker("tripping", &store);
    trip(&tripping);
    eventually("the trip is stored", || store.stored("tripping").contains(r#""state":"open""#));
}

#[test]
fn an_update_of_the_flush_interval_takes_effect() {
    let store = SickStore::default();
    let mut config = Config::default();
    config.flush_interval = LONG * 60;
    let breaker = Breaker::builder("updated").config(config.clone()).store(store.clone());
    let breaker = breaker.build().unwrap();
    let has_stored = |count| store.stored("updated").contains(count);
    breaker.try_acquire().unwrap().failure();
    thread::sleep(Duration::from_millis(50));
    assert!(!has_stored(r#""failure_count""#));
    config.flush_interval = Duration::from_millis(20);
    breaker.update(config).unwrap();
    eventually("the failure is saved", || has_stored(r#""failure_count":1"#));
    breaker.try_acquire().unwrap().failure();
    eventually("the next one is saved too", || has_stored(r#""failure_count":2"#));
}

#[test]
fn counts_are_saved_once_in_a_flush_interval() {
    let store = SickStore::default();
    let builder = Breaker::builder("gathered").trip_on(Trip::consecutive_failures(u32::MAX));
    let breaker =
        builder.store(store.clone()).flush_interval(Duration::from_secs(60)).build().unwrap();
    for _ in 0..10_000 {
        breaker.try_acquire().unwrap().failure();
    }
    assert_eq!(store.saves(), 0);
    drop(breaker);
    assert_eq!(store.saves(), 1);
    assert!(store.stored("gathered").contains(r#""failure_count":10000"#));
}

#[test]
fn the_last_state_is_stored_when_the_breaker_is_dropped() {
    let store = SickStore::default();
    let breaker = breaker("gone", &store);
    trip(&breaker);
    drop(breaker);
    assert!(store.stored("gone").contains(r#""state":"open""#));
}

#[tokio::test]
async fn a_failing_store_gets_the_newest_state_when_it_heals() {
    let store = SickStore::default();
    let breaker = breaker("failing", &store);
    store.show(Symptom::Fails);
    trip(&breaker);
    let error = breaker.flush().await.unwrap_err().to_string();
    assert!(error.contains("the store is sick"), "{error}");
    assert!(is_degraded(&breaker));
    breaker.reset();
    breaker.force_open();
    store.heal();
    eventually("it heals", || !is_degraded(&breaker));
    breaker.flush().await.unwrap();
    assert!(store.stored("failing").contains(r#""state":"forced_open""#));
}

#[tokio::test]
async fn a_store_that_panics_is_treated_as_failing() {
    let store = SickStore::default();
    let breaker = breaker("panicking", &store);
    store.show(Symptom::Panics);
    trip(&breaker);
    assert!(breaker.flush().await.unwrap_err().to_string().contains("panicked"));
    store.heal();
    eventually("it heals", || !is_degraded(&breaker));
    breaker.flush().await.unwrap();
    assert!(store.stored("panicking").contains(r#""state":"open""#));
}

#[tokio::test]
async fn a_hanging_store_blocks_neither_start_nor_calls_nor_drop() {
    let store = SickStore::default();
    store.show(Symptom::Hangs);
    let breaker = breaker("hanging", &store);
    assert!(is_degraded(&breaker), "{:?}", breaker.store_health());
    trip(&breaker);
    assert!(breaker.try_acquire().is_err());
    assert!(breaker.flush().await.unwrap_err().to_string().contains("does not answer"));
    breaker.reset();
    breaker.try_acquire().unwrap().success();
    drop(breaker);
    store.heal();
}

#[test]
fn a_store_that_starts_to_hang_is_degraded() {
    let store = SickStore::default();
    let breaker = breaker("stuck", &store);
    assert_eq!(breaker.store_health(), StoreHealth::Healthy);
    store.show(Symptom::Hangs);
    trip(&breaker);
    eventually("the store is degraded", || is_degraded(&breaker));
    store.heal();
    eventually("it heals", || !is_degraded(&breaker));
    eventually("it is stored", || store.stored("stuck").contains(r#""state":"open""#));
}

#[test]
fn a_snapshot_that_is_loaded_late_is_restored_unless_the_state_has_changed() {
    let store = SickStore::default();
    trip(&breaker("late", &store));
    store.show(Symptom::Fails);
    let late = breaker("late", &store);
    assert_eq!(late.state(), State::Closed);
    store.heal();
    eventually("the snapshot is restored", || late.state() == State::Open);
}

#[test]
fn a_snapshot_that_is_loaded_late_does_not_override_a_newer_state() {
    let store = SickStore::default();
    trip(&breaker("wiser", &store));
    store.show(Symptom::Fails);
    let wiser = breaker("wiser", &store);
    wiser.disable();
    store.heal();
    eventually("its state is stored", || store.stored("wiser").contains("disabled"));
    assert_eq!(wiser.state(), State::Disabled);
}

#[test]
fn nothing_is_written_before_the_snapshot_is_loaded() {
    let store = SickStore::default();
    trip(&breaker("unread", &store));
    let stored = store.stored("unread");
    store.show(Symptom::Fails);
    let saves = store.saves();
    let unread = breaker("unread", &store);
    unread.try_acquire().unwrap().failure();
    drop(unread);
    assert_eq!((store.saves(), store.stored("unread")), (saves, stored));
}

#[test]
fn a_slow_store_gets_the_newest_state_and_not_every_state() {
    let store = SickStore::default();
    let breaker = breaker("flapping", &store);
    store.show(Symptom::Hangs);
    for _ in 0..1000 {
        breaker.force_open();
        breaker.disable();
    }
    store.heal();
    eventually("the newest state is stored", || store.stored("flapping").contains("disabled"));
    assert!(store.saves() <= 3, "{} saves of 2000 transitions", store.saves());
}

#[tokio::test]
async fn the_breakers_of_one_store_share_one_thread() {
    let store = SickStore::default();
    let breakers: Vec<_> = (0..20).map(|number| breaker(&number.to_string(), &store)).collect();
    for breaker in &breakers {
        trip(breaker);
        breaker.flush().await.unwrap();
    }
    assert_eq!(store.threads(), 1);
}

#[tokio::test]
async fn listeners_receive_changes_of_the_stores_health() {
    let store = SickStore::default();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&heard);
    let breaker = Breaker::builder("heard")
        .store(store.clone())
        .on_event(move |event| {
            if let Event::Store(event) = event {
                listener.lock().unwrap().push(matches!(event.health, StoreHealth::Healthy));
            }
        })
        .build()
        .unwrap();
    store.show(Symptom::Fails);
    for _ in 0..3 {
        breaker.flush().await.unwrap_err();
    }
    store.heal();
    breaker.flush().await.unwrap();
    eventually("the listener has received both changes", || {
        *heard.lock().unwrap() == [false, true]
    });
}

#[tokio::test]
async fn without_a_store_there_is_nothing_to_flush() {
    let breaker = Breaker::builder("memory").build().unwrap();
    breaker.flush().await.unwrap();
    let health = breaker.store_health();
    assert_eq!(health, StoreHealth::NoStore);
    assert!(health.is_healthy() && !health.is_degraded(), "nothing is wrong");
}

#[test]
fn a_sled_folder_is_released_with_its_last_breaker() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..10 {
        let store = SledStore::open(folder.path()).unwrap();
        // At once, unless saving the last state took longer than the drop of a breaker waits.
        eventually("the folder is free", || store.load_page(None, 1).is_ok());
        let builder = Breaker::builder("sled").trip_on(Trip::consecutive_failures(100));
        let breaker = builder.store(store).build().unwrap();
        eventually("it is healthy", || breaker.store_health() == StoreHealth::Healthy);
        eventually("what was stored is restored", || {
            breaker.stats().consecutive_failures() == round
        });
        breaker.try_acquire().unwrap().failure();
    }
}

#[test]
fn a_deleted_sled_folder_is_created_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&heard);
    let breaker = Breaker::builder("deleted")
        .store(SledStore::open(&path).unwrap())
        .on_event(move |event| {
            if let Event::Store(event) = event {
                listener.lock().unwrap().push(matches!(event.health, StoreHealth::Healthy));
            }
        })
        .build()
        .unwrap();
    eventually("it is stored", || breaker.flush_blocking(LONG).is_ok());
    // A busy disk can take longer than a second.
    eventually("it is healthy", || breaker.store_health() == StoreHealth::Healthy);
    heard.lock().unwrap().clear();
    std::fs::remove_dir_all(&path).unwrap();
    breaker.force_open();
    // The stored state is gone, which is reported.
    eventually("the folder is created again", || heard.lock().unwrap().starts_with(&[false, true]));
    eventually("it is stored", || breaker.flush_blocking(LONG).is_ok());
    drop(breaker);
    let store = SledStore::open(&path).unwrap();
    eventually("the folder is free", || store.load_page(None, 1).is_ok());
    let breaker = Breaker::builder("deleted").store(store).build().unwrap();
    assert_eq!(breaker.state(), State::ForcedOpen);
}

#[test]
fn a_save_carries_the_ttl_of_the_snapshot() {
    const HOUR: Duration = Duration::from_secs(3600);
    let store = SickStore::default();
    let mut config = Config::default();
    config.trip_on = vec![Trip::consecutive_failures(1)];
    let breaker = Breaker::builder("expires").config(config.clone()).store(store.clone());
    let breaker = breaker.build().unwrap();
    let ttl = || {
        breaker.flush_blocking(Duration::from_secs(60)).unwrap();
        store.last_save().unwrap().ttl
    };
    assert_eq!(ttl(), Some(HOUR), "closed");
    breaker.try_acquire().unwrap().failure();
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(ttl(), Some(24 * HOUR), "open");
    config.recovery_timeout = 48 * HOUR;
    breaker.update(config.clone()).unwrap();
    breaker.reset();
    breaker.try_acquire().unwrap().failure();
    let open = ttl().unwrap();
    let needed = 48 * HOUR + config.half_open_timeout.unwrap();
    assert!(open + HOUR > needed && open <= needed, "open for longer than a day: {open:?}");
    breaker.force_open();
    assert_eq!(ttl(), None, "set by hand");
}
