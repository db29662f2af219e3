//! A call by hand and a layer of the same breaker on one path: the outer one counts.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
};

use tokio_test::task;
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, State, Trip, clock::ManualClock, reject::RejectAsBoxError,
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
fn nestings() -> [fn(Breaker, Act) -> Call; 6] {
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
    ]
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
