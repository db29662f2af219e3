//! One name is one breaker.

use std::{
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use tower_breaker::{Config, MemoryStore, Registry, State, Trip, clock::ManualClock};

use crate::during_load::DuringLoad;

fn config(failures: u32) -> Config {
    let mut config = Config::default();
    config.trip_on = vec![Trip::consecutive_failures(failures)];
    config
}

#[test]
fn a_name_is_one_breaker_in_all_clones_of_the_registry() {
    let registry = Registry::builder().build().unwrap();
    let payments = registry.get_or_create("payments").unwrap();
    payments.force_open();

    let clone = registry.clone();
    assert_eq!(clone.get_or_create("payments").unwrap().state(), State::ForcedOpen);
    assert_eq!(clone.get("payments").unwrap().state(), State::ForcedOpen);
    assert_eq!(clone.get_or_create("search").unwrap().state(), State::Closed);
}

#[test]
fn a_breaker_has_its_own_settings_or_the_defaults() {
    let registry =
        Registry::builder().defaults(config(2)).breaker("payments", config(7)).build().unwrap();
    let rules = |name| registry.get_or_create(name).unwrap().config().trip_on.clone();
    assert_eq!(rules("payments"), [Trip::consecutive_failures(7)]);
    assert_eq!(rules("search"), [Trip::consecutive_failures(2)]);
}

#[test]
fn breakers_with_the_defaults_share_one_configuration() {
    let registry = Registry::builder().build().unwrap();
    let config = |name| registry.get_or_create(name).unwrap().config();
    assert!(Arc::ptr_eq(&config("a"), &config("b")));
}

#[test]
fn names_are_listed_in_order_once_they_were_asked_for() {
    let registry = Registry::builder().breaker("never asked for", config(1)).build().unwrap();
    for name in ["b", "c", "a", "b"] {
        registry.get_or_create(name).unwrap();
    }
    let breakers = registry.breakers();
    let names: Vec<_> = breakers.iter().map(tower_breaker::Breaker::name).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(registry.get("never asked for").is_none());
}

#[test]
fn a_name_that_no_breaker_can_have_is_an_error_and_leaves_nothing_behind() {
    let registry = Registry::builder().build().unwrap();
    let error = registry.get_or_create("").unwrap_err();
    assert_eq!(error.faults()[0].path(), "name");
    registry.get_or_create("x".repeat(513)).unwrap_err();
    registry.get_or_create("x".repeat(512)).unwrap();
    assert_eq!(registry.breakers().len(), 1);
}

#[test]
fn every_fault_of_the_settings_is_reported_with_its_path() {
    let mut faulty = config(0);
    faulty.recovery_timeout = Duration::ZERO;
    let error = Registry::builder()
        .defaults(config(0))
        .breaker("payments", faulty)
        .breaker("", config(1))
        .build()
        .unwrap_err();
    let paths: Vec<_> = error.faults().iter().map(tower_breaker::config::Fault::path).collect();
    assert_eq!(
        paths,
        [
            "defaults.trip_on[0].consecutive_failures",
            r#"breakers[""]"#,
            "breakers.payments.trip_on[0].consecutive_failures",
            "breakers.payments.recovery_timeout",
        ]
    );
}

#[test]
fn reset_all_closes_every_breaker() {
    let registry = Registry::builder().build().unwrap();
    for name in ["a", "b"] {
        registry.get_or_create(name).unwrap().force_open();
    }
    registry.reset_all();
    assert!(registry.breakers().iter().all(|breaker| breaker.state() == State::Closed));
}

#[test]
fn a_removed_breaker_works_on_and_its_name_is_free() {
    let registry = Registry::builder().build().unwrap();
    let old = registry.get_or_create("tenant").unwrap();
    old.force_open();
    assert_eq!(registry.remove("tenant").unwrap().state(), State::ForcedOpen);
    assert!(registry.remove("tenant").is_none());
    assert!(registry.get("tenant").is_none());
    assert_eq!(registry.get_or_create("tenant").unwrap().state(), State::Closed);
    assert_eq!(old.state(), State::ForcedOpen);
}

#[test]
fn the_clock_is_that_of_the_registry() {
    let clock = ManualClock::new();
    let registry = Registry::builder().defaults(config(1)).clock(clock.clone()).build().unwrap();
    let breaker = registry.get_or_create("payments").unwrap();
    breaker.try_acquire().unwrap().failure();
    assert_eq!(breaker.state(), State::Open);
    clock.advance(Duration::from_secs(60));
    assert_eq!(breaker.state(), State::HalfOpen);
}

#[test]
fn each_breaker_is_restored_under_its_own_name() {
    let store = MemoryStore::new();
    let build = || Registry::builder().store(store.clone()).build().unwrap();
    let before = build();
    before.get_or_create("payments").unwrap().force_open();
    before.get_or_create("search").unwrap();
    drop(before);

    let after = build();
    assert_eq!(after.get_or_create("payments").unwrap().state(), State::ForcedOpen);
    assert_eq!(after.get_or_create("search").unwrap().state(), State::Closed);
}

#[test]
fn callers_that_ask_at_once_get_the_same_breaker_and_look_ups_do_not_wait_for_its_build() {
    let store = DuringLoad::default();
    let [begun, release] = [(); 2].map(|()| Arc::new(Barrier::new(2)));
    let barriers = [&begun, &release].map(Arc::clone);
    store.run_once(move || {
        for barrier in barriers {
            barrier.wait();
        }
    });
    let registry = Registry::builder().store(store).build().unwrap();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let registry = registry.clone();
            thread::spawn(move || registry.get_or_create("payments").unwrap())
        })
        .collect();
    begun.wait();
    assert!(registry.get("payments").is_none(), "it is still being built");
    assert!(registry.breakers().is_empty());
    release.wait();

    let breakers: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
    breakers[0].force_open();
    assert!(breakers.iter().all(|breaker| breaker.state() == State::ForcedOpen));
}
