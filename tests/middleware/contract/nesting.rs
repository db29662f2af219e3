//! The same breaker twice on one path: the outer one counts the call.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Duration,
};

use tokio_test::{assert_pending, task};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, Error, State, Trip, Window, clock::ManualClock,
    reject::RejectAsBoxError,
};

use super::{OPEN_TIME, call_metrics, trip};

const SLOW: Duration = Duration::from_secs(1);

type Nested = CircuitBreakerLayer<tower_breaker::classify::ErrorsAsFailures, RejectAsBoxError>;

fn layer(rule: Trip) -> (Nested, ManualClock) {
    let clock = ManualClock::new();
    let layer = CircuitBreakerLayer::builder("nested")
        .call_metrics(call_metrics())
        .trip_on(rule)
        .recovery_timeout(OPEN_TIME)
        .clock(clock.clone())
        .reject_with(RejectAsBoxError)
        .build()
        .unwrap();
    (layer, clock)
}

/// Rules that record calls in different ways.
fn rules() -> [Trip; 3] {
    [
        Trip::failure_rate(1.0, Window::calls(1000)).minimum_calls(1000),
        Trip::failure_rate(1.0, Window::time(Duration::from_secs(60))).minimum_calls(1000),
        Trip::slow_call_rate(1.0, SLOW, Window::calls(1000)).minimum_calls(1000),
    ]
}

fn calls(breaker: &Breaker) -> u64 {
    breaker.stats().window_calls()
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Succeed,
    Fail,
    PanicInCall,
    PanicInPoll,
    Hang,
}

fn act(act: Act) -> impl Future<Output = Result<(), std::io::Error>> {
    if matches!(act, Act::PanicInCall) {
        resume_unwind(Box::new("a bug"));
    }
    async move {
        match act {
            Act::Succeed => Ok(()),
            Act::Fail => Err(std::io::Error::other("down")),
            Act::PanicInCall | Act::PanicInPoll => resume_unwind(Box::new("a bug")),
            Act::Hang => std::future::pending().await,
        }
    }
}

/// Where the inner breaker is called: in the outer one's `call`, or in the poll of its future.
macro_rules! each_nesting {
    ($layer:expr, |$service:ident| $body:expr) => {{
        let layer = $layer.clone();
        let mut $service =
            ServiceBuilder::new().layer(layer.clone()).layer(layer).service(service_fn(act));
        $body;
        let layer = $layer.clone();
        let inner = layer.layer(service_fn(act));
        let mut $service = layer.layer(service_fn(move |act: Act| inner.clone().oneshot(act)));
        $body;
    }};
}

#[tokio::test]
async fn each_call_counts_once() {
    for rule in rules() {
        for (how, failures) in
            [(Act::Succeed, 0), (Act::Fail, 1), (Act::PanicInCall, 1), (Act::PanicInPoll, 1)]
        {
            let (layer, _) = layer(rule);
            // A window counts successes only if it holds a failure or a slow call.
            let permit = layer.breaker().try_acquire().unwrap();
            permit.record(tower_breaker::Outcome::failure(), 2 * SLOW);
            each_nesting!(layer, |service| {
                let before = layer.breaker().stats();
                let service = service.ready().await.unwrap();
                let work = AssertUnwindSafe(|| {
                    let _ = task::spawn(service.call(how)).poll();
                });
                let _ = catch_unwind(work);
                let after = layer.breaker().stats();
                let calls = after.window_calls() - before.window_calls();
                let failed = after.window_failures() - before.window_failures();
                assert_eq!((calls, failed), (1, failures), "{rule:?} {how:?}");
            });
        }
    }
}

#[tokio::test]
async fn a_call_that_is_abandoned_late_is_slow_once() {
    let (layer, clock) = layer(rules()[2]);
    each_nesting!(layer, |service| {
        let before = calls(layer.breaker());
        let mut call = task::spawn(service.ready().await.unwrap().call(Act::Hang));
        assert_pending!(call.poll());
        clock.advance(2 * SLOW);
        drop(call);
        assert_eq!(calls(layer.breaker()) - before, 1);
    });
}

#[tokio::test]
async fn five_failures_open_the_circuit_and_the_only_probe_closes_it() {
    let (layer, clock) = layer(Trip::consecutive_failures(5));
    each_nesting!(layer, |service| {
        for failures in 1..=5 {
            assert_eq!(layer.breaker().state(), State::Closed, "{failures}");
            service.ready().await.unwrap().call(Act::Fail).await.unwrap_err();
        }
        assert_eq!(layer.breaker().state(), State::Open);
        clock.advance(OPEN_TIME);
        service.ready().await.unwrap().call(Act::Succeed).await.unwrap();
        assert_eq!(layer.breaker().state(), State::Closed);
    });
}

#[tokio::test]
async fn a_failed_probe_opens_once() {
    let (layer, clock) = layer(Trip::consecutive_failures(1));
    trip(layer.breaker());
    each_nesting!(layer, |service| {
        clock.advance(OPEN_TIME);
        let openings = layer.breaker().stats().consecutive_opens();
        service.ready().await.unwrap().call(Act::Fail).await.unwrap_err();
        assert_eq!(layer.breaker().state(), State::Open);
        assert_eq!(layer.breaker().stats().consecutive_opens(), openings + 1);
    });
}

/// The circuit opens between the admission by the outer service and the call of the inner one.
#[tokio::test]
async fn a_call_that_the_outer_service_admitted_is_not_rejected_by_the_inner_one() {
    let (layer, _) = layer(Trip::consecutive_failures(1));
    let (inner, breaker) = (layer.layer(service_fn(act)), layer.breaker().clone());
    let mut outer = layer.layer(service_fn(move |act: Act| {
        breaker.trip();
        inner.clone().oneshot(act)
    }));
    outer.ready().await.unwrap().call(Act::Succeed).await.unwrap();
    assert_eq!(layer.breaker().state(), State::Open);
    outer.ready().await.unwrap().call(Act::Succeed).await.unwrap_err();
}

#[tokio::test]
async fn another_breaker_inside_counts_too() {
    let (outer, _) = layer(rules()[0]);
    let (inner, _) = layer(rules()[0]);
    let mut service = outer.layer(inner.layer(service_fn(act)));
    for calls_made in 1..4 {
        service.ready().await.unwrap().call(Act::Fail).await.unwrap_err();
        assert_eq!((calls(outer.breaker()), calls(inner.breaker())), (calls_made, calls_made));
    }
}

/// A call that runs concurrently, not within the call, counts.
#[tokio::test]
async fn a_call_in_another_task_counts_too() {
    let (layer, _) = layer(rules()[0]);
    let inner = layer.layer(service_fn(act));
    let mut outer = layer.layer(service_fn(move |act: Act| {
        let call = tokio::spawn(inner.clone().oneshot(act));
        async move { call.await.unwrap() }
    }));
    outer.ready().await.unwrap().call(Act::Fail).await.unwrap_err();
    assert_eq!(calls(layer.breaker()), 2);
    // A later call on the same thread is not within the first one.
    let mut alone = layer.layer(service_fn(act));
    alone.ready().await.unwrap().call(Act::Fail).await.unwrap_err();
    assert_eq!(calls(layer.breaker()), 3);
}

#[tokio::test]
async fn a_waiting_caller_does_not_block_itself() {
    let clock = ManualClock::new();
    let layer = CircuitBreakerLayer::builder("nested")
        .call_metrics(call_metrics())
        .trip_on(Trip::consecutive_failures(1))
        .recovery_timeout(OPEN_TIME)
        .clock(clock.clone())
        .backpressure()
        .build()
        .unwrap();
    trip(layer.breaker());
    clock.advance(OPEN_TIME);
    let inner = layer.layer(service_fn(|(): ()| async { Ok::<_, Error<()>>(()) }));
    let mut service = layer.layer(inner.clone());
    let mut ready = task::spawn(service.ready());
    assert!(ready.poll().is_ready());
    drop(ready);
    assert!(task::spawn(service.call(())).poll().is_ready());
    assert_eq!(layer.breaker().state(), State::Closed);
}

/// A service that is never ready.
#[derive(Clone)]
struct NeverReady;

impl Service<Act> for NeverReady {
    type Response = ();
    type Error = std::io::Error;
    type Future = std::future::Ready<Result<(), std::io::Error>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), std::io::Error>> {
        std::task::Poll::Pending
    }

    fn call(&mut self, _: Act) -> Self::Future {
        unreachable!("it is never ready")
    }
}

#[tokio::test]
async fn a_nested_call_that_waits_for_the_inner_service_does_not_wake_itself() {
    let (layer, clock) = layer(Trip::consecutive_failures(5));
    layer.breaker().trip();
    clock.advance(OPEN_TIME);
    let inner = layer.layer(NeverReady);
    let mut service = layer.layer(service_fn(move |act: Act| inner.clone().oneshot(act)));
    // It has the only slot of a probe.
    let mut call = task::spawn(service.ready().await.unwrap().call(Act::Succeed));
    assert_pending!(call.poll());
    assert_eq!(layer.breaker().state(), State::HalfOpen);
    assert!(!call.is_woken());
    layer.breaker().force_open();
    assert_pending!(call.poll());
    assert!(!call.is_woken());
}
