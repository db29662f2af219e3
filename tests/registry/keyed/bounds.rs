//! How many breakers a group has, and which ones a new one replaces.

use std::{future::ready, time::Duration};

use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};
use tower_breaker::{
    Breaker, Config, KeyedBreakers, KeyedCircuitBreakerLayer, State, Trip, Window,
    clock::ManualClock, registry::WhenFull,
};

use crate::support::wait::eventually;

fn group(max: usize) -> KeyedBreakers {
    KeyedBreakers::builder("hosts").max_breakers(max).build().unwrap()
}

fn trip(breaker: &Breaker) {
    for _ in 0..5 {
        breaker.try_acquire().unwrap().failure();
    }
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn a_new_key_replaces_one_that_was_not_used_lately() {
    let hosts = group(3);
    for key in ["a", "b", "c"] {
        hosts.get_or_create(key).unwrap();
    }
    hosts.get("a").unwrap();
    hosts.get_or_create("d").unwrap();
    assert_eq!(hosts.len(), 3);
    assert!(hosts.get("a").is_some(), "it was used");
    assert!(hosts.get("b").is_none(), "it was the oldest that was not");
    assert!(hosts.get("c").is_some());
    assert!(hosts.get("d").is_some());
}

#[test]
fn breakers_that_are_open_or_set_by_hand_are_never_replaced() {
    let hosts = group(4);
    trip(&hosts.get_or_create("open").unwrap());
    hosts.get_or_create("forced").unwrap().force_open();
    hosts.get_or_create("disabled").unwrap().disable();
    hosts.get_or_create("metrics").unwrap().metrics_only();
    for round in 0..100 {
        assert!(hosts.get_or_create(&format!("new {round}")).is_none());
    }
    assert_eq!(hosts.len(), 4);
    assert_eq!(hosts.unrecorded_calls(), 100);
    assert_eq!(hosts.get("open").unwrap().state(), State::Open);
}

#[test]
fn a_half_open_breaker_is_replaced_only_if_no_closed_one_is_idle() {
    let clock = ManualClock::new();
    let hosts =
        KeyedBreakers::builder("hosts").max_breakers(3).clock(clock.clone()).build().unwrap();
    trip(&hosts.get_or_create("half-open").unwrap());
    clock.advance(Duration::from_secs(60));
    trip(&hosts.get_or_create("open").unwrap());
    hosts.get_or_create("idle").unwrap();

    hosts.get_or_create("first").unwrap();
    assert!(hosts.get("idle").is_none());
    trip(&hosts.get("first").unwrap());
    assert!(hosts.get_or_create("second").is_some(), "the half-open one made room");
    assert!(hosts.get("half-open").is_none());
    assert!(hosts.get("open").is_some());
    assert!(hosts.get("first").is_some());
}

#[test]
fn an_idle_half_open_breaker_is_replaced_before_a_closed_one_that_was_used() {
    let clock = ManualClock::new();
    let hosts =
        KeyedBreakers::builder("hosts").max_breakers(2).clock(clock.clone()).build().unwrap();
    hosts.get_or_create("used").unwrap();
    hosts.get("used").unwrap();
    trip(&hosts.get_or_create("half-open").unwrap());
    clock.advance(Duration::from_secs(60));

    assert!(hosts.get_or_create("new").is_some());
    assert!(hosts.get("half-open").is_none());
    assert!(hosts.get("used").is_some());
}

#[test]
fn a_half_open_breaker_is_not_replaced_while_its_probe_is_out() {
    let clock = ManualClock::new();
    let hosts =
        KeyedBreakers::builder("hosts").max_breakers(2).clock(clock.clone()).build().unwrap();
    let probed = hosts.get_or_create("probed").unwrap();
    trip(&probed);
    hosts.get_or_create("forced").unwrap().force_open();
    clock.advance(Duration::from_secs(60));
    let probe = probed.try_acquire().unwrap();
    for round in 0..10 {
        assert!(hosts.get_or_create(&format!("new {round}")).is_none());
    }
    probe.cancel();
    assert!(hosts.get_or_create("late").is_some());
    assert!(hosts.get("probed").is_none());
}

#[test]
fn a_key_that_finds_no_room_can_share_a_breaker() {
    let hosts =
        KeyedBreakers::builder("hosts").max_breakers(1).when_full(WhenFull::Share).build().unwrap();
    trip(&hosts.get_or_create("a").unwrap());
    let shared = hosts.get_or_create("b").unwrap();
    assert_eq!(shared.name(), "hosts");
    trip(&shared);
    assert_eq!(hosts.get_or_create("c").unwrap().state(), State::Open);
    assert_eq!(hosts.len(), 1);
    assert_eq!(hosts.unrecorded_calls(), 0);
}

#[test]
fn a_reset_of_all_breakers_includes_the_shared_one() {
    let hosts =
        KeyedBreakers::builder("hosts").max_breakers(1).when_full(WhenFull::Share).build().unwrap();
    hosts.get_or_create("a").unwrap().force_open();
    let shared = hosts.get_or_create("b").unwrap();
    shared.force_open();
    hosts.reset_all();
    assert_eq!((shared.name(), shared.state()), ("hosts", State::Closed));
    assert_eq!(hosts.get("a").unwrap().state(), State::Closed);
}

#[test]
fn a_removed_breaker_that_is_in_use_works_on() {
    let hosts = group(1);
    let old = hosts.get_or_create("a").unwrap();
    hosts.get_or_create("b").unwrap();
    assert!(hosts.get("a").is_none());
    trip(&old);
    assert!(hosts.get_or_create("a").is_some_and(|new| new.state() == State::Closed));
}

#[test]
fn invented_keys_do_not_push_out_a_breaker_that_is_in_use() {
    let hosts = group(100);
    let good = hosts.get_or_create("good").unwrap();
    good.try_acquire().unwrap().failure();
    for invented in 0..20_000 {
        if let Some(breaker) = hosts.get_or_create(&format!("invented {invented}")) {
            breaker.try_acquire().unwrap().failure();
        }
        if invented % 50 == 0 {
            hosts.get("good").unwrap().try_acquire().unwrap().cancel();
        }
    }
    assert!(hosts.len() <= 100);
    assert_eq!(hosts.get("good").unwrap().stats().consecutive_failures(), 1);
}

/// A second chance is a preference, not a right: however many breakers were used, one of them goes.
#[test]
fn a_new_key_finds_room_among_breakers_that_were_all_used() {
    for max in [1, 2, 64, 100, 1000, 10_000] {
        let hosts = group(max);
        let fail = |key: &str| hosts.get_or_create(key).unwrap().try_acquire().unwrap().failure();
        for key in 0..max {
            (0..2).for_each(|_| fail(&format!("host {key}")));
        }
        let breaker = hosts.get_or_create("new").expect("all are closed and idle");
        trip(&breaker);
        assert_eq!(hosts.get("new").unwrap().state(), State::Open, "{max}");
        breaker.reset();
        // Each of them used again as soon as it is there.
        for key in 0..max.min(1000) {
            (0..2).for_each(|_| fail(&format!("new {key}")));
        }
        assert_eq!((hosts.len(), hosts.unrecorded_calls()), (max, 0));
    }
}

#[test]
fn the_first_failure_of_a_new_key_is_recorded_although_all_breakers_were_used() {
    const MAX: usize = 1000;
    let rates = Trip::failure_rate(0.6, Window::calls(4)).minimum_calls(2);
    for rule in [Trip::consecutive_failures(2), rates] {
        let mut config = Config::default();
        config.trip_on = vec![rule];
        let hosts =
            KeyedBreakers::builder("hosts").max_breakers(MAX).config(config).build().unwrap();
        let layer = KeyedCircuitBreakerLayer::by_key(hosts.clone(), |(key, _): &(String, bool)| {
            Some(key.as_str().into())
        });
        let mut service = layer.layer(service_fn(|(_, fails): (String, bool)| {
            ready(if fails { Err("down") } else { Ok(()) })
        }));
        let mut call = |key: String, fails| {
            tokio_test::block_on(service.ready()).unwrap();
            tokio_test::block_on(service.call((key, fails)))
        };
        for key in 0..MAX {
            for fails in [true, false, false] {
                let _ = call(format!("host {key}"), fails);
            }
        }
        assert_eq!(hosts.len(), MAX);
        (0..2).for_each(|_| drop(call("new".to_owned(), true)));
        assert_eq!(hosts.get("new").unwrap().state(), State::Open);
        assert!(call("new".to_owned(), false).unwrap_err().rejected().is_some());
        assert_eq!((hosts.len(), hosts.unrecorded_calls()), (MAX, 0));
    }
}

/// The hand of the clock passes breakers that were used, as long as it meets others.
#[test]
fn used_breakers_stay_while_a_search_meets_one_that_was_not_used() {
    let hosts = group(1000);
    for key in 0..1000 {
        hosts.get_or_create(&key.to_string()).unwrap();
    }
    (0..999).for_each(|key| drop(hosts.get(&key.to_string()).unwrap()));
    hosts.get_or_create("new").unwrap();
    assert!((0..999).all(|key| hosts.get(&key.to_string()).is_some()));
    assert!(hosts.get("999").is_none());
}

#[test]
fn one_idle_breaker_among_many_open_ones_is_found() {
    for max in [100, 1000] {
        let hosts = group(max);
        for key in 1..max {
            hosts.get_or_create(&key.to_string()).unwrap().force_open();
        }
        for is_used in [false, true] {
            let idle = format!("idle {is_used}");
            hosts.get_or_create(&idle).unwrap();
            if is_used {
                hosts.get(&idle).unwrap();
            }
            assert!(hosts.get_or_create("new").is_some(), "{max}");
            assert!(hosts.get(&idle).is_none());
        }
    }
}

/// However long the queue of breakers that cannot be replaced, a search is bounded and goes on
/// where the last one has ended.
#[test]
fn one_idle_breaker_among_thousands_of_open_ones_is_found_by_later_searches() {
    let hosts = group(5000);
    for key in 1..5000 {
        hosts.get_or_create(&key.to_string()).unwrap().force_open();
    }
    hosts.get_or_create("idle").unwrap();
    let found = (0..10).position(|key| hosts.get_or_create(&format!("new {key}")).is_some());
    assert_eq!(found, Some(4));
    assert!(hosts.get("idle").is_none());
}

/// After two turns without a result, the group is not searched for a moment.
#[test]
fn a_group_that_was_full_of_open_breakers_finds_one_that_has_closed() {
    let hosts = group(200);
    for key in 0..200 {
        hosts.get_or_create(&key.to_string()).unwrap().force_open();
    }
    for round in 0..3 {
        for key in 0..1000 {
            assert!(hosts.get_or_create(&format!("new {round} {key}")).is_none());
        }
        hosts.get(&round.to_string()).unwrap().reset();
        eventually("room was found", || hosts.get_or_create(&format!("late {round}")).is_some());
        assert!(hosts.get(&round.to_string()).is_none());
        hosts.get(&format!("late {round}")).unwrap().force_open();
    }
}
