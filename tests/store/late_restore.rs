//! A snapshot that is read late: the breaker has recorded calls meanwhile, which are newer.

use std::time::Duration;

use tower_breaker::{Breaker, BreakerBuilder, Outcome, State, StateStore as _, Trip, Window};

use crate::support::{
    sick_store::{SickStore, Symptom},
    wait::eventually,
};

fn record(breaker: &Breaker, failures: u32, successes: u32) {
    for _ in 0..failures {
        breaker.try_acquire().unwrap().failure();
    }
    for _ in 0..successes {
        breaker.try_acquire().unwrap().success();
    }
}

/// Builds a breaker from the store of an earlier one, which reads the snapshot only once
/// `meanwhile` has recorded calls.
fn restored_late(
    build: impl Fn(BreakerBuilder) -> BreakerBuilder,
    before: impl FnOnce(&Breaker),
    meanwhile: impl FnOnce(&Breaker),
) -> Breaker {
    let store = SickStore::default();
    let build = || build(Breaker::builder("payments").store(store.clone())).build().unwrap();
    let earlier = build();
    before(&earlier);
    earlier.flush_blocking(Duration::from_secs(10)).unwrap();
    drop(earlier);
    let (key, marker) = ("circuit_breaker:payments:state", "\"consecutive_opens\":");
    let text = store.stored("payments").replace(&format!("{marker}0"), &format!("{marker}7"));
    store.inner.save(&tower_breaker::store::SaveEntry::new(key, text)).unwrap();
    store.show(Symptom::Hangs);
    let breaker = build();
    meanwhile(&breaker);
    store.heal();
    eventually("restored", || {
        breaker.stats().consecutive_opens() > 0 || breaker.state() != State::Closed
    });
    breaker
}

#[test]
fn failures_that_were_recorded_before_an_old_snapshot_is_read_still_count() {
    let five = |builder: BreakerBuilder| builder.trip_on(Trip::consecutive_failures(5));
    let breaker = restored_late(five, |old| record(old, 1, 1), |new| record(new, 4, 0));
    assert_eq!(breaker.stats().consecutive_failures(), 4);
    record(&breaker, 1, 0);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn a_success_that_was_recorded_before_an_old_snapshot_is_read_ends_its_failure_streak() {
    let five = |builder: BreakerBuilder| builder.trip_on(Trip::consecutive_failures(5));
    let breaker = restored_late(five, |old| record(old, 4, 0), |new| record(new, 0, 1));
    assert_eq!(breaker.stats().consecutive_failures(), 0);
    record(&breaker, 1, 0);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn successes_that_are_counted_without_the_lock_count_too() {
    let rule = Trip::failure_rate(0.5, Window::calls(100)).minimum_calls(100);
    let rate = move |builder: BreakerBuilder| builder.trip_on(rule);
    // After the first failure, a save is due, and successes are deferred.
    let breaker = restored_late(rate, |old| record(old, 3, 0), |new| record(new, 1, 20));
    let stats = breaker.stats();
    assert_eq!((stats.window_calls(), stats.window_failures()), (24, 4));
    assert_eq!(stats.consecutive_failures(), 0);
}

#[test]
fn calls_of_an_old_snapshot_come_before_those_in_the_windows() {
    for window in [Window::calls(10), Window::time(Duration::from_secs(600))] {
        let rule = Trip::failure_rate(0.99, window).minimum_calls(1000);
        let rate = move |builder: BreakerBuilder| builder.trip_on(rule);
        let breaker = restored_late(rate, |old| record(old, 1, 4), |new| record(new, 2, 1));
        let stats = breaker.stats();
        assert_eq!((stats.window_calls(), stats.window_failures()), (8, 3), "{window:?}");
    }
}

#[test]
fn the_state_of_an_old_snapshot_is_adopted_all_the_same() {
    let one = |builder: BreakerBuilder| {
        builder.trip_on(Trip::consecutive_failures(5)).recovery_timeout(Duration::from_secs(60))
    };
    let opened = restored_late(one, Breaker::trip, |new| record(new, 2, 3));
    assert_eq!(opened.state(), State::Open);
    let by_hand = restored_late(one, Breaker::disable, |new| record(new, 2, 3));
    assert_eq!(by_hand.state(), State::Disabled);
}

#[test]
fn a_breaker_without_recorded_calls_restores_everything_however_late() {
    let five = |builder: BreakerBuilder| builder.trip_on(Trip::consecutive_failures(5));
    let ignored =
        |new: &Breaker| new.try_acquire().unwrap().record(Outcome::Ignore, Duration::ZERO);
    let breaker = restored_late(five, |old| record(old, 4, 0), ignored);
    assert_eq!(breaker.stats().consecutive_failures(), 4);
}
