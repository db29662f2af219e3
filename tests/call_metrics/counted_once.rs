//! Each call is counted once, over every way to make one.

use std::{
    convert::Infallible,
    future::{pending, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tokio_test::{assert_pending, block_on, task};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, Outcome, State, Trip, Window, classify::classify_fn,
    clock::ManualClock, config::CallMetrics, event::Reason,
};

use super::{counted, metrics};

const FAILED: [u64; 6] = [0, 1, 0, 0, 0, 0];
const IGNORED: [u64; 6] = [0, 0, 0, 1, 0, 0];
const CANCELLED: [u64; 6] = [0, 0, 0, 0, 1, 0];
const REJECTED: [u64; 6] = [0, 0, 0, 0, 0, 1];

/// Breakers that take each way through the recording of a success: quiet, counted without the lock,
/// by the time, and with the lock.
fn kinds(name: &str) -> Vec<Breaker> {
    let rules = [
        ("consecutive", Trip::consecutive_failures(100)),
        ("count", Trip::failure_rate(1.0, Window::calls(10)).minimum_calls(10)),
        ("time", Trip::failure_rate(1.0, Window::time(Duration::from_secs(10)))),
        ("slow", Trip::slow_call_rate(1.0, Duration::from_secs(60), Window::calls(10))),
    ];
    let build = |(kind, rule)| Breaker::builder(format!("{name}-{kind}")).trip_on(rule).build();
    rules.into_iter().map(|rule| build(rule).unwrap()).collect()
}

/// What this closure does counts so.
#[track_caller]
fn counts(breaker: &Breaker, expected: [u64; 6], work: impl FnOnce()) {
    let before = counted(breaker);
    work();
    let after = counted(breaker);
    let more: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    assert_eq!(more, expected, "{}", breaker.name());
}

#[test]
fn a_permit_counts_once_however_it_ends() {
    for breaker in kinds("permit") {
        let permit = || breaker.try_acquire().unwrap();
        for _ in 0..3 {
            counts(&breaker, [20, 0, 0, 0, 0, 0], || (0..20).for_each(|_| permit().success()));
            counts(&breaker, FAILED, || permit().failure());
            counts(&breaker, [0, 0, 1, 0, 0, 0], || permit().finish(Outcome::throttled()));
            counts(&breaker, IGNORED, || permit().ignore());
            counts(&breaker, CANCELLED, || permit().cancel());
            counts(&breaker, CANCELLED, || drop(permit()));
            let elapsed = Duration::from_secs(1);
            counts(&breaker, [1, 0, 0, 0, 0, 0], || permit().record(Outcome::Success, elapsed));
        }
        breaker.force_open();
        counts(&breaker, REJECTED, || assert!(breaker.try_acquire().is_err()));
        breaker.disable();
        counts(&breaker, [1, 0, 0, 0, 0, 0], || permit().success());
        counts(&breaker, FAILED, || permit().failure());
        breaker.metrics_only();
        counts(&breaker, FAILED, || permit().failure());
    }
}

#[test]
fn a_permit_that_outlives_the_state_that_admitted_it_counts_once() {
    for breaker in kinds("late") {
        let permits: Vec<_> = (0..7).map(|_| breaker.try_acquire().unwrap()).collect();
        breaker.force_open();
        breaker.reset();
        counts(&breaker, [1, 1, 1, 1, 2, 0], || {
            let mut permits = permits.into_iter();
            let mut next = || permits.next().unwrap();
            next().success();
            next().failure();
            next().finish(Outcome::throttled());
            next().ignore();
            next().cancel();
            drop(next());
            std::mem::forget(next());
        });
    }
}

#[test]
fn a_call_by_hand_counts_once() {
    for breaker in kinds("by-hand") {
        counts(&breaker, [3, 2, 0, 0, 0, 0], || {
            block_on(async {
                breaker.call(ready(Ok::<_, Infallible>(()))).await.unwrap();
                breaker.call(ready(Err::<(), _>(std::fmt::Error))).await.unwrap_err();
                breaker.acquire().await.success();
            });
            breaker.call_blocking(|| Ok::<_, Infallible>(())).unwrap();
            breaker.call_blocking(|| Err::<(), _>(std::fmt::Error)).unwrap_err();
        });
        counts(&breaker, CANCELLED, || {
            let mut call = task::spawn(breaker.call(pending::<Result<(), Infallible>>()));
            assert_pending!(call.poll());
        });
    }
}

#[test]
fn a_call_of_a_service_counts_once() {
    for breaker in kinds("service") {
        let layer = CircuitBreakerLayer::new(breaker.clone());
        let layer = layer.classify(classify_fn(|result: &Result<u32, u32>| match result {
            Ok(_) => Outcome::Success,
            Err(429) => Outcome::throttled(),
            Err(404) => Outcome::Ignore,
            Err(_) => Outcome::failure(),
        }));
        let inner = |request| async move { if request < 400 { Ok(request) } else { Err(request) } };
        let service = layer.layer(service_fn(inner));
        let call = |request| block_on(service.clone().oneshot(request));
        counts(&breaker, [20, 1, 1, 1, 0, 0], || {
            for _ in 0..20 {
                call(200).unwrap();
            }
            for request in [429, 404, 500] {
                call(request).unwrap_err();
            }
        });
        breaker.force_open();
        counts(&breaker, REJECTED, || {
            call(200).unwrap_err();
        });
        // Readiness that was never asked for, and readiness that is used by no call.
        counts(&breaker, REJECTED, || drop(block_on(service.clone().call(200)).unwrap_err()));
        counts(&breaker, [0; 6], || {
            let mut service = service.clone();
            block_on(async { service.ready().await.map(|_| ()).unwrap() });
        });
    }
}

#[test]
fn a_future_that_is_dropped_counts_once_as_cancelled() {
    for breaker in kinds("dropped") {
        let layer = CircuitBreakerLayer::new(breaker.clone());
        let mut service = layer.layer(service_fn(|(): ()| pending::<Result<(), Infallible>>()));
        let mut call = || {
            assert!(task::spawn(()).enter(|cx, _| service.poll_ready(cx)).is_ready());
            task::spawn(service.call(()))
        };
        counts(&breaker, CANCELLED, || drop(call()));
        counts(&breaker, CANCELLED, || {
            let mut call = call();
            assert_pending!(call.poll());
        });
    }
}

fn silently<T>(work: impl FnOnce() -> T) {
    assert!(catch_unwind(AssertUnwindSafe(work)).is_err());
}

#[test]
fn a_call_that_panics_counts_once_as_a_failure() {
    for breaker in kinds("panics") {
        let layer = CircuitBreakerLayer::new(breaker.clone());
        let in_call = layer.layer(service_fn(|(): ()| -> std::future::Ready<Result<(), ()>> {
            panic!("this test provokes a panic")
        }));
        let in_poll = layer.layer(service_fn(|fails: bool| async move {
            assert!(!fails, "this test provokes a panic");
            Ok::<_, ()>(())
        }));
        counts(&breaker, FAILED, || silently(|| block_on(in_call.oneshot(()))));
        counts(&breaker, FAILED, || silently(|| block_on(in_poll.oneshot(true))));
        counts(&breaker, FAILED, || {
            silently(|| breaker.call_blocking(|| -> Result<(), Infallible> { panic!("provoked") }));
        });
        // It is not about this call.
        counts(&breaker, CANCELLED, || {
            silently(|| {
                let _permit = breaker.try_acquire().unwrap();
                panic!("this test provokes a panic");
            });
        });
    }
}

#[test]
fn the_same_breaker_twice_on_a_path_counts_once() {
    for breaker in kinds("twice") {
        let layer = CircuitBreakerLayer::new(breaker.clone());
        let twice = |succeed: bool| {
            let inner = service_fn(move |(): ()| async move {
                if succeed { Ok(()) } else { Err(std::fmt::Error) }
            });
            let service = layer.clone().layer(layer.layer(inner));
            let _ = block_on(service.oneshot(()));
        };
        counts(&breaker, [20, 0, 0, 0, 0, 0], || (0..20).for_each(|_| twice(true)));
        counts(&breaker, FAILED, || twice(false));
        counts(&breaker, CANCELLED, || {
            let inner = service_fn(|(): ()| pending::<Result<(), std::fmt::Error>>());
            let service = layer.clone().layer(layer.layer(inner));
            let mut call = task::spawn(service.oneshot(()));
            assert_pending!(call.poll());
        });
        counts(&breaker, [1, 0, 0, 0, 0, 0], || {
            let inner = breaker.call(ready(Ok::<_, Infallible>(())));
            block_on(breaker.call(inner)).unwrap();
        });
        counts(&breaker, CANCELLED, || {
            let inner = breaker.call(pending::<Result<(), Infallible>>());
            let mut call = task::spawn(breaker.call(inner));
            assert_pending!(call.poll());
        });
    }
}

#[test]
fn slow_calls_and_late_drops_are_counted() {
    let clock = ManualClock::new();
    let breaker = Breaker::builder("slow-calls")
        .trip_on(Trip::slow_call_rate(1.0, Duration::from_secs(2), Window::calls(100)))
        .abandoned_after(Duration::from_secs(10))
        .clock(clock.clone())
        .build()
        .unwrap();
    let takes = |seconds| {
        let permit = breaker.try_acquire().unwrap();
        clock.advance(Duration::from_secs(seconds));
        permit
    };
    takes(1).success();
    takes(3).success();
    takes(3).failure();
    assert_eq!(metrics(&breaker).slow_calls, 2);
    drop(takes(1));
    assert_eq!(metrics(&breaker).slow_calls, 2);
    drop(takes(3));
    assert_eq!(metrics(&breaker).slow_calls, 3);
    assert_eq!(counted(&breaker), [2, 1, 0, 0, 2, 0]);
    drop(takes(11));
    assert_eq!(metrics(&breaker).slow_calls, 4);
    assert_eq!(counted(&breaker), [2, 2, 0, 0, 2, 0], "a failure, by its age");
    assert_eq!(metrics(&breaker).slow_call_ratio, Some(0.8));
    assert_eq!(metrics(&breaker).failure_ratio, None);
}

#[test]
fn every_probe_is_counted_once_and_every_transition() {
    let clock = ManualClock::new();
    let breaker = Breaker::builder("probes")
        .trip_on(Trip::consecutive_failures(1))
        .success_threshold(3)
        .half_open_failure_rate(0.9)
        .half_open_max_calls(10)
        .clock(clock.clone())
        .build()
        .unwrap();
    breaker.try_acquire().unwrap().failure();
    assert!(breaker.try_acquire().is_err());
    clock.advance(Duration::from_secs(60));
    let permit = || breaker.try_acquire().unwrap();
    let unfinished = permit();
    permit().ignore();
    permit().cancel();
    drop(permit());
    permit().finish(Outcome::throttled());
    permit().failure();
    permit().success();
    assert_eq!(breaker.state(), State::Closed);
    unfinished.success();
    let metrics = metrics(&breaker);
    let probes = metrics.probes;
    assert_eq!((probes.success, probes.failure, probes.throttled), (1, 1, 1));
    assert_eq!((probes.ignored, probes.cancelled, probes.unfinished), (1, 2, 1));
    assert_eq!(counted(&breaker), [2, 2, 1, 1, 2, 1]);
    let transitions: Vec<_> = metrics
        .transitions
        .iter()
        .map(|step| (step.from, step.to, step.reason, step.count))
        .collect();
    assert_eq!(
        transitions,
        [
            (State::Closed, State::Open, Reason::ConsecutiveFailures, 1),
            (State::Open, State::HalfOpen, Reason::RecoveryTimeout, 1),
            (State::HalfOpen, State::Closed, Reason::ProbesSucceeded, 1),
        ]
    );
    assert_eq!(metrics.breakers_in(State::Closed), 1);
}

#[test]
fn without_metrics_nothing_is_counted_and_the_handle_says_so() {
    let breaker = Breaker::builder("off").call_metrics(CallMetrics::Off).build().unwrap();
    breaker.try_acquire().unwrap().success();
    assert_eq!(breaker.metrics(), None);
    let breaker = Arc::new(Breaker::builder("on").build().unwrap());
    assert_eq!(counted(&breaker), [0; 6]);
}
