//! A classifier that panics says nothing about the dependency. The panic propagates.

use std::{
    future::ready,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use tokio_test::task;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{Breaker, CircuitBreakerLayer, Outcome, State, Trip, clock::ManualClock};

use super::{OPEN_TIME, call_metrics, trip};

fn panicking(_: &Result<(), String>) -> Outcome {
    resume_unwind(Box::new("a bug"))
}

/// Opens at the second failure.
fn builder() -> (tower_breaker::BreakerBuilder, ManualClock) {
    let clock = ManualClock::new();
    let builder = Breaker::builder("classifiers")
        .call_metrics(call_metrics())
        .trip_on(Trip::consecutive_failures(2))
        .recovery_timeout(OPEN_TIME)
        .clock(clock.clone());
    (builder, clock)
}

/// The panics change nothing: the dependency has answered.
fn holds(breaker: &Breaker, clock: &ManualClock, call: impl Fn()) {
    let panics = || catch_unwind(AssertUnwindSafe(&call)).is_err();
    trip(breaker);
    for _ in 0..3 {
        assert!(panics());
        assert_eq!(breaker.state(), State::Closed);
        assert_eq!(breaker.stats().consecutive_failures(), 1);
    }
    trip(breaker);
    clock.advance(OPEN_TIME);
    for _ in 0..3 {
        assert!(panics(), "the slot is free");
        assert_eq!(breaker.state(), State::HalfOpen);
    }
}

#[test]
fn a_panicking_classifier_of_a_layer_counts_as_nothing() {
    for answer in [Ok(()), Err(String::new())] {
        let (builder, clock) = builder();
        let breaker = builder.build().unwrap();
        let layer = CircuitBreakerLayer::new(breaker.clone()).classify(panicking);
        holds(&breaker, &clock, || {
            let service = layer.layer(service_fn(|(): ()| ready(answer.clone())));
            let _ = task::spawn(service.oneshot(())).poll();
        });
    }
}

#[test]
fn a_panicking_classifier_of_a_guard_counts_as_nothing() {
    for answer in [Ok(()), Err(String::new())] {
        let (builder, clock) = builder();
        let breaker = builder.build().unwrap();
        holds(&breaker, &clock, || {
            let _ = task::spawn(breaker.call_with(panicking, ready(answer.clone()))).poll();
        });
        breaker.reset();
        holds(&breaker, &clock, || {
            let _ = breaker.call_blocking_with(panicking, || answer.clone());
        });
    }
}

/// The classifier is made before the call, so nothing was called.
#[test]
fn a_panic_before_the_call_counts_as_nothing_and_gives_the_slot_back() {
    let (builder, clock) = builder();
    let breaker = builder.build().unwrap();
    let layer = CircuitBreakerLayer::new(breaker.clone()).classify_with(
        |fails: &bool| -> fn(&Result<(), String>) -> Outcome {
            if *fails { resume_unwind(Box::new("a bug")) } else { |_| Outcome::Success }
        },
    );
    let mut service = layer.layer(service_fn(|_: bool| ready(Ok::<(), String>(()))));
    trip(&breaker);
    trip(&breaker);
    clock.advance(OPEN_TIME);
    for _ in 0..3 {
        let mut ready = task::spawn(service.ready());
        assert!(ready.poll().is_ready());
        drop(ready);
        catch_unwind(AssertUnwindSafe(|| drop(service.call(true)))).unwrap_err();
        assert_eq!(breaker.state(), State::HalfOpen);
    }
    assert!(task::spawn(service.oneshot(false)).poll().is_ready());
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_fallback_that_panics_is_no_call() {
    let (builder, _) = builder();
    let breaker = builder.build().unwrap();
    breaker.force_open();
    let fallback = |(): (), _| async { resume_unwind(Box::new("a bug")) };
    let layer = CircuitBreakerLayer::new(breaker.clone()).fallback(fallback);
    let service = layer.layer(service_fn(|(): ()| ready(Ok::<(), ()>(()))));
    let before = breaker.stats();
    catch_unwind(AssertUnwindSafe(|| task::spawn(service.oneshot(())).poll().is_ready()))
        .unwrap_err();
    assert_eq!(breaker.stats().consecutive_failures(), before.consecutive_failures());
    assert_eq!(breaker.state(), State::ForcedOpen);
}
