//! A response with which an inner breaker has answered a rejected call is nothing to an outer one,
//! also with a classifier that takes any type and can look into none.

use std::{convert::Infallible, future::ready, time::Duration};

use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, OnBodyEnd, Outcome, Rejected, State,
    classify::{AnyErrorAsFailure, Classify, ErrorsAsFailures, StatusClassifier},
    clock::ManualClock,
    reject::{Reject, RejectAsEmptyResponse, RejectAsGrpcStatus, RejectAsResponse, RespondWith},
};

type Body = Full<bytes::Bytes>;
type Answer = Response<Body>;

fn upstream()
-> impl Service<Request<()>, Response = Answer, Error = Infallible, Future: Send> + Clone {
    service_fn(|_: Request<()>| ready(Ok(Response::new(Body::default()))))
}

/// A service whose breaker answers each call.
fn rejecting<R>(
    reject: R,
) -> impl Service<Request<()>, Response = Answer, Error = R::Error, Future: Send> + Clone
where
    R: Reject<Request<()>, Answer, Infallible, Error: Send, Future: Send> + Clone,
{
    let inner = CircuitBreakerLayer::builder("inner").reject_with(reject).build().unwrap();
    inner.breaker().force_open();
    inner.layer(upstream())
}

/// A breaker that has seen a failure.
fn failed_once() -> Breaker {
    let breaker = Breaker::builder("outer").build().unwrap();
    breaker.try_acquire().unwrap().failure();
    breaker
}

/// How many failures in a row are left after a call: one if it did not count, none if it was a
/// success.
async fn failures_after<C, S, B>(classify: C, inner: S) -> u32
where
    C: Clone + Classify<Response<B>, Infallible>,
    S: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone,
{
    let breaker = failed_once();
    let outer = CircuitBreakerLayer::new(breaker.clone()).classify(classify);
    assert!(outer.layer(inner).oneshot(Request::new(())).await.is_ok());
    breaker.stats().consecutive_failures()
}

#[tokio::test]
async fn the_answer_of_a_breaker_further_in_does_not_count_and_other_responses_do() {
    let respond = RespondWith(|_: &Rejected| Response::new(Body::from("not now")));
    assert_eq!(failures_after(ErrorsAsFailures, rejecting(RejectAsResponse)).await, 1);
    assert_eq!(failures_after(ErrorsAsFailures, rejecting(RejectAsEmptyResponse)).await, 1);
    assert_eq!(failures_after(ErrorsAsFailures, rejecting(RejectAsGrpcStatus)).await, 1);
    assert_eq!(failures_after(ErrorsAsFailures, rejecting(respond)).await, 1);
    assert_eq!(failures_after(AnyErrorAsFailure, rejecting(RejectAsResponse)).await, 1);
    let any_status = StatusClassifier::new().success(100..=999);
    assert_eq!(failures_after(any_status, rejecting(RejectAsResponse)).await, 1);

    assert_eq!(failures_after(ErrorsAsFailures, upstream()).await, 0);
    assert_eq!(failures_after(AnyErrorAsFailure, upstream()).await, 0);
    let error = Response::builder().status(500).body(()).unwrap();
    assert_eq!(any_status.classify(&Ok::<_, Infallible>(error)), Outcome::Success);
}

#[tokio::test]
async fn it_does_not_count_through_other_layers() {
    let classify = ErrorsAsFailures;
    let by_default = CircuitBreakerLayer::builder("middle").reject_with(RejectAsResponse);
    let by_default = by_default.build().unwrap();
    assert_eq!(failures_after(classify, by_default.layer(rejecting(RejectAsResponse))).await, 1);
    let by_status = CircuitBreakerLayer::builder("middle").http().build().unwrap();
    assert_eq!(failures_after(classify, by_status.layer(rejecting(RejectAsResponse))).await, 1);
    let watched = CircuitBreakerLayer::builder("inner").http().on_body_end(OnBodyEnd::new());
    let watched = watched.build().unwrap();
    watched.breaker().force_open();
    assert_eq!(failures_after(classify, watched.layer(upstream())).await, 1);
}

#[tokio::test]
async fn it_does_not_close_a_half_open_circuit() {
    let clock = ManualClock::new();
    let outer = Breaker::builder("outer").clock(clock.clone()).build().unwrap();
    outer.trip();
    clock.advance(Duration::from_secs(60));
    let layer = CircuitBreakerLayer::new(outer.clone()).reject_with(RejectAsResponse);
    for _ in 0..10 {
        layer.layer(rejecting(RejectAsResponse)).oneshot(Request::new(())).await.unwrap();
        assert_eq!(outer.state(), State::HalfOpen);
    }
    layer.layer(upstream()).oneshot(Request::new(())).await.unwrap();
    assert_eq!(outer.state(), State::Closed);
}

#[tokio::test]
async fn calls_without_a_service_see_it_too() {
    let breaker = failed_once();
    let call = rejecting(RejectAsResponse).oneshot(Request::new(()));
    breaker.call(call).await.unwrap();
    assert_eq!(breaker.stats().consecutive_failures(), 1);
    let call = rejecting(RejectAsResponse).oneshot(Request::new(()));
    let ready = || tokio_test::assert_ready!(tokio_test::task::spawn(call).poll());
    breaker.call_blocking(ready).unwrap();
    assert_eq!(breaker.stats().consecutive_failures(), 1);
    breaker.call(upstream().oneshot(Request::new(()))).await.unwrap();
    assert_eq!(breaker.stats().consecutive_failures(), 0);
}

/// Another service has answered in place of the breaker.
#[tokio::test]
async fn the_response_of_a_fallback_counts() {
    let by_closure = CircuitBreakerLayer::builder("inner")
        .fallback(|_: Request<()>, _| ready(Ok::<_, Infallible>(Response::new(Body::default()))))
        .build()
        .unwrap();
    by_closure.breaker().force_open();
    assert_eq!(failures_after(ErrorsAsFailures, by_closure.layer(upstream())).await, 0);

    // By hand, with a response of another type.
    let by_hand = service_fn(|request: Request<()>| async {
        let answer = rejecting(RejectAsResponse).oneshot(request).await?;
        assert!(answer.extensions().get::<Rejected>().is_some());
        Ok::<_, Infallible>(Response::new("yesterday's"))
    });
    assert_eq!(failures_after(ErrorsAsFailures, by_hand).await, 0);
}

#[tokio::test]
async fn an_answer_to_an_earlier_call_hides_no_success() {
    // To no other breaker, to one that does not watch, and to one that does.
    rejecting(RejectAsResponse).oneshot(Request::new(())).await.unwrap();
    assert_eq!(failures_after(ErrorsAsFailures, upstream()).await, 0);
    let any_status = StatusClassifier::new();
    assert_eq!(failures_after(any_status, rejecting(RejectAsResponse)).await, 1);
    assert_eq!(failures_after(ErrorsAsFailures, upstream()).await, 0);
    assert_eq!(failures_after(ErrorsAsFailures, rejecting(RejectAsResponse)).await, 1);
    assert_eq!(failures_after(ErrorsAsFailures, upstream()).await, 0);

    // In an earlier poll of the same call.
    let retries = service_fn(|_: Request<()>| async {
        rejecting(RejectAsResponse).oneshot(Request::new(())).await.unwrap();
        tokio::task::yield_now().await;
        upstream().oneshot(Request::new(())).await
    });
    assert_eq!(failures_after(ErrorsAsFailures, retries).await, 0);
    // A classifier that is called by hand.
    let result = Ok::<_, Infallible>(Response::new(Body::default()));
    assert_eq!(ErrorsAsFailures.classify(&result), Outcome::Success);
}
