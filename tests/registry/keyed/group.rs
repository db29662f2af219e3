//! The breakers of a group, without a service.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tower_breaker::{Config, Event, KeyedBreakers, State, Trip, Window, clock::ManualClock};

use crate::support::{
    sick_store::{SickStore, Symptom},
    wait::eventually,
};

#[test]
fn a_key_is_one_breaker_in_all_clones_of_the_group() {
    let hosts = KeyedBreakers::builder("hosts").build().unwrap();
    let breaker = hosts.get_or_create("a.example").unwrap();
    breaker.force_open();
    assert_eq!(breaker.name(), "hosts:a.example");
    assert_eq!(hosts.clone().get_or_create("a.example").unwrap().state(), State::ForcedOpen);
    assert_eq!(hosts.clone().get("a.example").unwrap().state(), State::ForcedOpen);
    assert_eq!(hosts.get_or_create("b.example").unwrap().state(), State::Closed);
    assert_eq!(hosts.len(), 2);
    assert!(hosts.get("c.example").is_none());
}

#[test]
fn the_settings_are_the_same_for_all_keys_and_can_change() {
    let mut config = Config::default();
    config.recovery_timeout = Duration::from_secs(5);
    let hosts = KeyedBreakers::builder("hosts").config(config).build().unwrap();
    let early = hosts.get_or_create("early").unwrap();
    assert_eq!(early.config().recovery_timeout, Duration::from_secs(5));

    hosts.update(Config::default()).unwrap();
    assert_eq!(hosts.config().recovery_timeout, Duration::from_secs(60));
    assert_eq!(early.config().recovery_timeout, Duration::from_secs(60));
    let late = hosts.get_or_create("late").unwrap();
    assert_eq!(late.config().recovery_timeout, Duration::from_secs(60));

    let mut faulty = Config::default();
    faulty.success_threshold = 0;
    hosts.update(faulty).unwrap_err();
    assert_eq!(hosts.config().success_threshold, 1);
}

#[test]
fn every_fault_of_a_group_is_reported() {
    let mut config = Config::default();
    config.trip_on = vec![Trip::failure_rate(2.0, Window::calls(10))];
    let error = KeyedBreakers::builder("").config(config).max_breakers(0).build().unwrap_err();
    let paths: Vec<_> = error.faults().iter().map(tower_breaker::config::Fault::path).collect();
    assert_eq!(paths, ["name", "max_breakers", "trip_on[0].failure_rate.threshold"]);
}

#[test]
fn the_events_of_all_keys_are_one_stream() {
    let hosts = KeyedBreakers::builder("hosts").build().unwrap();
    let mut events = hosts.subscribe();
    hosts.get_or_create("a").unwrap().force_open();
    hosts.get_or_create("b").unwrap().force_open();
    hosts.reset_all();
    let mut names = Vec::new();
    while let Ok(Event::Transition(transition)) = events.try_recv() {
        names.push(format!("{} {}", transition.name, transition.to));
    }
    names[2..].sort();
    assert_eq!(
        names,
        ["hosts:a forced_open", "hosts:b forced_open", "hosts:a closed", "hosts:b closed"]
    );
}

#[test]
fn a_clock_is_for_all_keys() {
    let clock = ManualClock::new();
    let hosts = KeyedBreakers::builder("hosts").clock(clock.clone()).build().unwrap();
    let breaker = hosts.get_or_create("a").unwrap();
    for _ in 0..5 {
        breaker.try_acquire().unwrap().failure();
    }
    clock.advance(Duration::from_secs(59));
    assert_eq!(breaker.state(), State::Open);
    clock.advance(Duration::from_secs(1));
    assert_eq!(breaker.state(), State::HalfOpen);
}

/// Events of the construction, and of a transition that was due, run listeners on this thread.
#[test]
fn a_listener_may_use_the_group_while_a_breaker_is_created_updated_or_considered() {
    let clock = ManualClock::new();
    let group = Arc::new(OnceLock::<KeyedBreakers>::new());
    let heard = Arc::new(AtomicUsize::new(0));
    let (inner, counter) = (Arc::clone(&group), Arc::clone(&heard));
    let built = KeyedBreakers::builder("hosts")
        .clock(clock.clone())
        .max_breakers(2)
        .on_event(move |event| {
            let Event::Transition(transition) = event else { return };
            let group = inner.get().unwrap();
            group.update(Config::default()).unwrap();
            let _ = group.get_or_create("another");
            assert_eq!(group.config().success_threshold, 1);
            assert_ne!(&*transition.name, "hosts");
            counter.fetch_add(1, Ordering::SeqCst);
        })
        .build()
        .unwrap();
    group.set(built).unwrap();
    let group = group.get().unwrap();
    let breaker = group.get_or_create("a").unwrap();
    breaker.trip();
    clock.advance(Duration::from_secs(60));
    group.update(Config::default()).unwrap(); // finds the end of the open time
    assert_eq!(breaker.state(), State::HalfOpen);
    breaker.trip();
    clock.advance(Duration::from_secs(60));
    for key in ["b", "c", "d"] {
        let _ = group.get_or_create(key);
    }
    assert!(heard.load(Ordering::SeqCst) >= 3, "{heard:?}");
}

/// A degraded store is an event of the construction itself.
#[test]
fn a_listener_may_use_the_group_when_the_store_is_in_trouble() {
    let store = SickStore::default();
    store.show(Symptom::Fails);
    let group = Arc::new(OnceLock::<KeyedBreakers>::new());
    let inner = Arc::clone(&group);
    let built = KeyedBreakers::builder("hosts")
        .store(store.clone())
        .on_event(move |_| {
            if let Some(group) = inner.get() {
                let _ = (group.config(), group.get_or_create("another"));
            }
        })
        .build()
        .unwrap();
    group.set(built).unwrap();
    let group = group.get().unwrap();
    for key in 0..10 {
        group.get_or_create(&key.to_string()).unwrap().force_open();
    }
    eventually("a listener has used the group", || group.get("another").is_some());
    store.heal();
}

#[test]
fn updates_at_once_end_with_the_newest_settings() {
    let hosts = KeyedBreakers::builder("hosts").build().unwrap();
    for key in 0..50 {
        hosts.get_or_create(&key.to_string()).unwrap();
    }
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let hosts = &hosts;
            scope.spawn(move || {
                for round in 0..50 {
                    let mut config = Config::default();
                    config.recovery_timeout = Duration::from_secs(1 + thread * 50 + round);
                    hosts.update(config).unwrap();
                }
            });
        }
    });
    let newest = hosts.config();
    for breaker in hosts.breakers() {
        assert_eq!(breaker.config(), newest);
    }
}
