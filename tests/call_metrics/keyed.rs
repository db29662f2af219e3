//! The calls of keyed breakers: counted for the group, or by key.

use std::{future::pending, sync::Arc, time::Duration};

use tokio_test::{assert_pending, block_on, task};
use tower::{Layer, ServiceExt, service_fn};
use tower_breaker::{
    Config, KeyedBreakers, KeyedCircuitBreakerLayer, State, Trip, Window, clock::ManualClock,
    config::CallMetrics,
};

use super::{counted, ends};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Does {
    Succeed,
    Fail,
    Hang,
    Panic,
}

/// Makes a call, and gives a hanging one up.
fn caller(breakers: &KeyedBreakers) -> impl Fn(&str, Does) + use<> {
    let layer = KeyedCircuitBreakerLayer::by_key(breakers.clone(), |(key, _): &(String, Does)| {
        Some(key.as_str().into())
    });
    let service = layer.layer(service_fn(async |(_, does): (String, Does)| match does {
        Does::Succeed => Ok(()),
        Does::Fail => Err(std::fmt::Error),
        Does::Hang => pending().await,
        Does::Panic => panic!("this test provokes a panic"),
    }));
    move |key, does| {
        let call = service.clone().oneshot((key.to_owned(), does));
        if does == Does::Hang {
            assert_pending!(task::spawn(call).poll());
        } else {
            let call = std::panic::AssertUnwindSafe(|| drop(block_on(call)));
            let _ = std::panic::catch_unwind(call);
        }
    }
}

fn rates() -> Arc<Config> {
    let mut config = Config::default();
    config.trip_on =
        vec![Trip::consecutive_failures(5), Trip::failure_rate(0.9, Window::calls(10))];
    config.into()
}

#[test]
fn each_call_is_counted_once_for_the_group_whether_its_key_has_a_breaker_or_not() {
    for (name, config) in [("lazy", Arc::default()), ("eager", rates())] {
        let breakers = KeyedBreakers::builder(name).config(config).build().unwrap();
        let call = caller(&breakers);
        for key in ["a", "b"] {
            call(key, Does::Succeed);
            call(key, Does::Hang);
        }
        assert_eq!(ends(breakers.metrics().calls), [2, 0, 0, 0, 2, 0], "{name}");
        for _ in 0..5 {
            call("a", Does::Fail);
        }
        call("a", Does::Succeed);
        call("b", Does::Panic);
        call("b", Does::Succeed);
        let metrics = breakers.metrics();
        assert_eq!(ends(metrics.calls), [3, 6, 0, 0, 2, 1], "{name}");
        assert_eq!(metrics.breakers_in(State::Open), 1);
        assert_eq!(metrics.breakers_in(State::Closed), 1);
        // The breaker of a key counts with its group.
        assert_eq!(counted(&breakers.get("a").unwrap()), [3, 6, 0, 0, 2, 1]);
    }
}

#[test]
fn by_key_the_first_keys_are_counted_for_themselves_and_all_others_together() {
    let breakers = KeyedBreakers::builder("by-key").metrics_by_key(2).build().unwrap();
    let call = caller(&breakers);
    for (key, calls) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        (0..calls).for_each(|_| call(key, Does::Succeed));
    }
    let successes = |key| counted(&breakers.get(key).unwrap())[0];
    assert_eq!(["a", "b", "c", "d"].map(successes), [1, 2, 7, 7]);
    assert_eq!(breakers.metrics().calls.total(), 0);
}

#[test]
fn a_call_that_a_full_group_does_not_record_is_counted_as_that() {
    let breakers = KeyedBreakers::builder("full").max_breakers(1).build().unwrap();
    breakers.get_or_create("a").unwrap().force_open();
    assert!(breakers.get_or_create("b").is_none());
    let metrics = breakers.metrics();
    assert_eq!((metrics.unrecorded_calls, metrics.calls.total()), (1, 0));
}

#[test]
fn a_group_counts_what_its_settings_say() {
    let mut off = Config::from_json(r#"{"call_metrics": "off"}"#).unwrap();
    let breakers = KeyedBreakers::builder("chosen").config(off.clone()).build().unwrap();
    let call = caller(&breakers);
    call("a", Does::Succeed);
    call("b", Does::Fail);
    assert_eq!(breakers.metrics().calls.total(), 0);
    assert_eq!(breakers.get("b").unwrap().metrics(), None);

    off.call_metrics = CallMetrics::Counts;
    breakers.update(off).unwrap();
    call("a", Does::Succeed);
    call("b", Does::Fail);
    let metrics = breakers.metrics();
    assert_eq!(ends(metrics.calls), [1, 1, 0, 0, 0, 0]);
    assert_eq!(metrics.breakers_in(State::Closed), 1);
}

/// Under consecutive failures alone, it is the failure that finds no room.
#[test]
fn a_failure_that_finds_no_room_is_unrecorded_and_not_a_failure_too() {
    let breakers = KeyedBreakers::builder("full-lazy").max_breakers(1).build().unwrap();
    breakers.get_or_create("a").unwrap().force_open();
    let call = caller(&breakers);
    let counts = || {
        let metrics = breakers.metrics();
        (metrics.unrecorded_calls, metrics.calls.success, metrics.calls.total())
    };
    call("b", Does::Fail);
    assert_eq!(counts(), (1, 0, 0));
    call("b", Does::Panic);
    assert_eq!(counts(), (2, 0, 0));
    call("b", Does::Succeed);
    assert_eq!(counts(), (2, 1, 1));
}

#[test]
fn a_call_that_passes_a_full_group_twice_is_unrecorded_once() {
    let builder = KeyedBreakers::builder("full-twice").config(rates()).max_breakers(1);
    let breakers = builder.build().unwrap();
    breakers.get_or_create("a").unwrap().force_open();
    let layer =
        || KeyedCircuitBreakerLayer::by_key(breakers.clone(), |key: &&str| Some((*key).into()));
    let inner = service_fn(async |_: &str| Err::<(), _>(std::fmt::Error));
    let service = layer().layer(service_fn(move |key: &'static str| {
        let further_in = layer().layer(inner);
        async move { further_in.oneshot(key).await.map_err(|_| std::fmt::Error) }
    }));
    for calls in 1..=2 {
        block_on(service.clone().oneshot("b")).unwrap_err();
        let metrics = breakers.metrics();
        assert_eq!((metrics.unrecorded_calls, metrics.calls.total()), (calls, 0));
    }
}

/// The map of a group may keep what it has removed for long, as this test keeps a handle.
#[test]
fn a_replaced_breaker_is_in_no_state_of_its_group_though_a_handle_is_kept() {
    let clock = ManualClock::new();
    let mut config = Config::default();
    config.trip_on = vec![Trip::failure_rate(0.5, Window::calls(10)).minimum_calls(2)];
    let hosts = KeyedBreakers::builder("replaced").config(config).max_breakers(1);
    let hosts = hosts.clock(clock.clone()).build().unwrap();
    let fail = |key: &str| hosts.get_or_create(key).unwrap().try_acquire().unwrap().failure();
    let seen = || {
        let metrics = hosts.metrics();
        let states = [State::Closed, State::Open, State::HalfOpen];
        (states.map(|state| metrics.breakers_in(state)), metrics.failure_ratio)
    };
    fail("a");
    assert_eq!(seen(), ([1, 0, 0], Some(1.0)));
    fail("a");
    let kept = hosts.get("a").unwrap();
    clock.advance(Duration::from_secs(60));
    assert_eq!(seen().0, [0, 0, 1]);
    // That it was used is its second chance.
    assert!(hosts.get_or_create("b").is_none() || hosts.get("a").is_none());
    let b = hosts.get_or_create("b").unwrap();
    assert!(hosts.get("a").is_none(), "it was half-open, and was replaced");
    b.try_acquire().unwrap().success();
    assert_eq!(seen(), ([1, 0, 0], Some(0.0)));
    // It goes on in memory, outside of the group.
    kept.try_acquire().unwrap().failure();
    assert_eq!((kept.state(), seen()), (State::Open, ([1, 0, 0], Some(0.0))));
    drop(kept);
    assert_eq!(seen(), ([1, 0, 0], Some(0.0)));
    assert_eq!(hosts.metrics().calls.failure, 3);
}
