//! A call by hand and a layer of the same breaker on one path: the outer one counts.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
};

use tokio_test::task;
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, Permit, State, Trip, clock::ManualClock, reject::RejectAsBoxError,
};

use super::{OPEN_TIME, call_metrics};

type Call = Pin<Box<dyn Future<Output = Result<(), BoxError>>>>;

/// What the dependency does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    Succeed,
    Fail,
    Panic,
}

fn dependency(act: Act) -> Result<(), BoxError> {
    match act {
        Act::Succeed => Ok(()),
        Act::Fail => Err("down".into()),
        Act::Panic => resume_unwind(Box::new("a bug")),
    }
}

/// Each way of having the breaker twice on one path.
fn nestings() -> [fn(Breaker, Act) -> Call; 10] {
    fn layer(
        breaker: &Breaker,
    ) -> CircuitBreakerLayer<tower_breaker::classify::ErrorsAsFailures, RejectAsBoxError> {
        CircuitBreakerLayer::new(breaker.clone()).reject_with(RejectAsBoxError)
    }
    [
        |breaker, act| {
            let inner = breaker.clone();
            let by_hand = service_fn(move |act: Act| {
                let inner = inner.clone();
                async move { inner.call(async move { dependency(act) }).await.map_err(unboxed) }
            });
            Box::pin(layer(&breaker).layer(by_hand).oneshot(act))
        },
        |breaker, act| {
            let inner = breaker.clone();
            let by_hand = service_fn(move |act: Act| {
                let result = inner.call_blocking(|| dependency(act)).map_err(unboxed);
                std::future::ready(result)
            });
            Box::pin(layer(&breaker).layer(by_hand).oneshot(act))
        },
        |breaker, act| {
            let service = layer(&breaker).layer(service_fn(async |act| dependency(act)));
            let call = async move { breaker.call(service.oneshot(act)).await };
            Box::pin(async { call.await.map_err(unboxed) })
        },
        |breaker, act| {
            let service = layer(&breaker).layer(service_fn(async |act| dependency(act)));
            Box::pin(async move {
                let permit = breaker.try_acquire()?;
                permit.call(service.oneshot(act)).await
            })
        },
        |breaker, act| {
            let inner = breaker.clone();
            let call = async move { inner.call(async move { dependency(act) }).await };
            Box::pin(async move {
                breaker.call(async { call.await.map_err(unboxed) }).await.map_err(unboxed)
            })
        },
        |breaker, act| {
            let inner = breaker.clone();
            let work = move || inner.call_blocking(|| dependency(act)).map_err(unboxed);
            Box::pin(async move { breaker.call_blocking(work).map_err(unboxed) })
        },
        |breaker, act| {
            let inner = breaker.clone();
            let by_hand = service_fn(move |act: Act| {
                let inner = inner.clone();
                async move { inner.try_acquire()?.call(async move { dependency(act) }).await }
            });
            Box::pin(layer(&breaker).layer(by_hand).oneshot(act))
        },
        |breaker, act| {
            let inner = breaker.clone();
            let by_hand = service_fn(move |act: Act| {
                let inner = inner.clone();
                async move { inner.acquire().await.call(async move { dependency(act) }).await }
            });
            Box::pin(layer(&breaker).layer(by_hand).oneshot(act))
        },
        |breaker, act| {
            let inner = breaker.clone();
            let by_hand = service_fn(move |act: Act| {
                let inner = inner.clone();
                async move { recorded_by_hand(inner.try_acquire()?, act) }
            });
            Box::pin(layer(&breaker).layer(by_hand).oneshot(act))
        },
        |breaker, act| {
            let inner = breaker.clone();
            let by_hand = async move { recorded_by_hand(inner.acquire().await, act) };
            Box::pin(async move { breaker.call(by_hand).await.map_err(unboxed) })
        },
    ]
}

fn recorded_by_hand(permit: Permit, act: Act) -> Result<(), BoxError> {
    let result = dependency(act);
    if result.is_ok() {
        permit.success();
    } else {
        permit.failure();
    }
    result
}

fn unboxed(error: tower_breaker::Error<BoxError>) -> BoxError {
    match error {
        tower_breaker::Error::Inner(error) => error,
        error => format!("{error}").into(),
    }
}

#[test]
fn a_call_counts_once_and_the_only_probe_closes_the_circuit() {
    for (index, nesting) in nestings().into_iter().enumerate() {
        for failing in [Act::Fail, Act::Panic] {
            let clock = ManualClock::new();
            let breaker = Breaker::builder("by hand")
                .call_metrics(call_metrics())
                .trip_on(Trip::consecutive_failures(3))
                .recovery_timeout(OPEN_TIME)
                .clock(clock.clone())
                .build()
                .unwrap();
            let call = |act| {
                let call = nesting(breaker.clone(), act);
                catch_unwind(AssertUnwindSafe(|| task::spawn(call).poll().is_ready()))
            };
            for failures in 0..3 {
                let place = format!("{index} {failing:?}");
                assert_eq!(breaker.stats().consecutive_failures(), failures, "{place}");
                assert_eq!(breaker.state(), State::Closed, "{place}");
                assert_eq!(call(failing).is_err(), failing == Act::Panic, "{place}");
            }
            assert_eq!(breaker.state(), State::Open, "{index} {failing:?}");
            clock.advance(OPEN_TIME);
            assert!(call(failing).is_ok() || failing == Act::Panic);
            assert_eq!(breaker.state(), State::Open, "{index} {failing:?}: a failed probe");
            assert_eq!(breaker.stats().consecutive_opens(), 2);
            clock.advance(OPEN_TIME);
            assert!(call(Act::Succeed).unwrap());
            assert_eq!(breaker.state(), State::Closed, "{index} {failing:?}: a probe");
        }
    }
}

/// The outer call holds the only slot, and the inner one does not wait for it.
#[test]
fn a_permit_within_a_call_of_the_same_breaker_needs_no_admission_and_takes_no_slot() {
    let clock = ManualClock::new();
    let breaker = Breaker::builder("by hand")
        .recovery_timeout(OPEN_TIME)
        .clock(clock.clone())
        .build()
        .unwrap();
    breaker.trip();
    clock.advance(OPEN_TIME);
    let inner = breaker.clone();
    let outer = breaker.call(async move {
        drop(inner.try_acquire().expect("part of the outer call"));
        drop(inner.acquire().await);
        inner.force_open();
        inner.try_acquire().expect("part of the outer call").failure();
        drop(inner.acquire().await);
        Ok::<(), BoxError>(())
    });
    assert!(task::spawn(outer).poll().is_ready());
    assert_eq!(breaker.state(), State::ForcedOpen);
    breaker.try_acquire().unwrap_err();
}
