//! Errors that borrow: no classifier can look into them, and a breaker takes them nevertheless.

use std::future::{Ready, ready};

use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, Error, Outcome, State, Trip, classify::AnyErrorAsFailure,
};

/// It does not implement `std::error::Error`.
#[derive(Debug, PartialEq, Eq)]
struct Borrowing<'a>(&'a str);

/// A breaker that opens at the third failure.
fn breaker() -> Breaker {
    Breaker::builder("borrowed").trip_on(Trip::consecutive_failures(3)).build().unwrap()
}

fn failing(text: &str) -> impl Service<(), Response = (), Error = Borrowing<'_>, Future: Send> {
    service_fn(move |(): ()| ready(Err::<(), _>(Borrowing(text))))
}

#[tokio::test]
async fn a_layer_takes_an_error_that_borrows() {
    let text = String::from("down");
    let layer = CircuitBreakerLayer::new(breaker()).classify(AnyErrorAsFailure);
    let mut service = layer.layer(failing(&text));
    for _ in 0..3 {
        assert_eq!(layer.breaker().state(), State::Closed);
        let error = service.ready().await.unwrap().call(()).await.unwrap_err();
        assert_eq!(error, Error::Inner(Borrowing("down")));
    }
    assert_eq!(layer.breaker().state(), State::Open);
    assert!(service.ready().await.unwrap().call(()).await.unwrap_err().rejected().is_some());
}

#[tokio::test]
async fn a_closure_takes_an_error_that_borrows() {
    let text = String::from("down");
    let layer =
        CircuitBreakerLayer::new(breaker()).classify(|result: &Result<(), Borrowing<'_>>| {
            match result {
                Err(Borrowing("down")) => Outcome::failure(),
                _ => Outcome::Success,
            }
        });
    let mut service = layer.layer(failing(&text));
    for _ in 0..3 {
        service.ready().await.unwrap().call(()).await.unwrap_err();
    }
    assert_eq!(layer.breaker().state(), State::Open);
}

#[tokio::test]
async fn calls_without_a_service_take_an_error_that_borrows() {
    let text = String::from("down");
    let fail = || Err::<(), _>(Borrowing(&text));
    let breaker = breaker();
    breaker.call_with(AnyErrorAsFailure, ready(fail())).await.unwrap_err();
    breaker.call_blocking_with(AnyErrorAsFailure, fail).unwrap_err();
    let permit = breaker.try_acquire().unwrap();
    permit.call_with(AnyErrorAsFailure, ready(fail())).await.unwrap_err();
    assert_eq!(breaker.state(), State::Open);
    breaker.reset();
    for _ in 0..3 {
        let permit = breaker.try_acquire().unwrap();
        permit.call_blocking_with(AnyErrorAsFailure, fail).unwrap_err();
    }
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test]
async fn an_inner_rejection_does_not_count_and_a_failure_after_it_does() {
    let text = String::from("down");
    let inner = CircuitBreakerLayer::new(breaker()).classify(AnyErrorAsFailure);
    let outer = CircuitBreakerLayer::new(breaker()).classify(AnyErrorAsFailure);
    let mut service = outer.layer(inner.layer(failing(&text)));
    inner.breaker().force_open();
    for _ in 0..5 {
        service.ready().await.unwrap().call(()).await.unwrap_err();
    }
    assert_eq!(outer.breaker().stats().consecutive_failures(), 0);
    inner.breaker().reset();
    service.ready().await.unwrap().call(()).await.unwrap_err();
    assert_eq!(outer.breaker().stats().consecutive_failures(), 1);
}

/// Code that is generic over services needs no bound beyond those of `Service`.
#[tokio::test]
async fn generic_code_needs_no_bound() {
    fn wrap<Request, S: Service<Request>>(
        breaker: Breaker,
        inner: S,
    ) -> impl Service<Request, Response = S::Response, Error = Error<S::Error>> {
        CircuitBreakerLayer::new(breaker).classify(AnyErrorAsFailure).layer(inner)
    }
    let inner = service_fn(|text| -> Ready<Result<&str, Borrowing<'_>>> { ready(Ok(text)) });
    let text = String::from("hello");
    let mut service = wrap(breaker(), inner);
    assert_eq!(service.ready().await.unwrap().call(text.as_str()).await.unwrap(), "hello");
}
