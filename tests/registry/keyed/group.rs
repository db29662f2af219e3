//! The breakers of a group, without a service.

use std::time::Duration;

use tower_breaker::{Config, Event, KeyedBreakers, State, Trip, Window, clock::ManualClock};

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
