//! A call whose classifier panics is exactly one failure. The panic propagates.

use std::{
    future::ready,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Duration,
};

use tokio_test::task;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, Config, Outcome, State, Trip, Window, clock::ManualClock,
};

use super::{OPEN_TIME, call_metrics, trip};

const LATE: Duration = Duration::from_millis(1);

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

/// Each panic is one failure, and frees the slot of a probe.
fn fails(breaker: &Breaker, clock: &ManualClock, call: impl Fn()) {
    let panics = || catch_unwind(AssertUnwindSafe(&call)).is_err();
    assert!(panics());
    assert_eq!((breaker.state(), breaker.stats().consecutive_failures()), (State::Closed, 1));
    assert!(panics());
    for opens in 1..4 {
        let state = (breaker.state(), breaker.stats().consecutive_opens());
        assert_eq!(state, (State::Open, opens));
        clock.advance(OPEN_TIME);
        assert_eq!(breaker.state(), State::HalfOpen);
        assert!(panics(), "the slot is free");
    }
}

#[test]
fn a_call_whose_classifier_panics_below_a_layer_is_one_failure() {
    for answer in [Ok(()), Err(String::new())] {
        let (builder, clock) = builder();
        let breaker = builder.build().unwrap();
        let layer = CircuitBreakerLayer::new(breaker.clone()).classify(panicking);
        fails(&breaker, &clock, || {
            let service = layer.layer(service_fn(|(): ()| ready(answer.clone())));
            let _ = task::spawn(service.oneshot(())).poll();
        });
    }
}

#[test]
fn a_call_by_hand_whose_classifier_panics_is_one_failure() {
    for answer in [Ok(()), Err(String::new())] {
        let (builder, clock) = builder();
        let breaker = builder.build().unwrap();
        fails(&breaker, &clock, || {
            let _ = task::spawn(breaker.call_with(panicking, ready(answer.clone()))).poll();
        });
        breaker.reset();
        fails(&breaker, &clock, || {
            let _ = breaker.call_blocking_with(panicking, || answer.clone());
        });
    }
}

/// As below a `CatchPanicLayer`: there the future outlives the panic. It is not abandoned as well.
#[test]
fn a_future_that_is_dropped_after_the_panic_of_its_classifier_counts_once() {
    let slow = Trip::slow_call_rate(1.0, LATE / 2, Window::calls(100)).minimum_calls(100);
    let rate = Trip::failure_rate(1.0, Window::calls(100)).minimum_calls(100);
    for rules in [vec![rate], vec![rate, slow]] {
        for (abandoned_after, answer) in
            [(None, Ok(())), (Some(LATE), Ok(())), (Some(LATE), Err(String::new()))]
        {
            let clock = ManualClock::new();
            let mut config = Config::default();
            config.trip_on.clone_from(&rules);
            config.abandoned_after = abandoned_after;
            let breaker = Breaker::builder("late").config(config).call_metrics(call_metrics());
            let breaker = breaker.clock(clock.clone()).build().unwrap();
            let layer = CircuitBreakerLayer::new(breaker.clone()).classify(panicking);
            let service = layer.layer(service_fn(|(): ()| ready(answer.clone())));
            let mut call = task::spawn(service.oneshot(()));
            catch_unwind(AssertUnwindSafe(|| call.poll().is_ready())).unwrap_err();
            let stats = || {
                let stats = breaker.stats();
                (stats.window_calls(), stats.window_failures(), stats.window_slow_calls())
            };
            assert_eq!(stats(), (1, 1, 0));
            clock.advance(2 * LATE);
            drop(call);
            assert_eq!(stats(), (1, 1, 0));
        }
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
