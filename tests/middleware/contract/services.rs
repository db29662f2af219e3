//! Services of every kind: the breaker needs no bound beyond those of `tower::Service`.

use std::{
    cell::Cell,
    future::{Ready, ready},
    rc::Rc,
    task::{Context, Poll},
};

use tokio_test::{assert_ready, assert_ready_ok, task};
use tower::{Layer, Service};
use tower_breaker::{CircuitBreakerLayer, State};

use super::call_metrics;

/// Neither `Clone`, nor `Send`, nor `'static`. It is ready for one call at a time, and panics if a
/// service other than the one that was polled ready is called.
struct Borrowing<'a> {
    calls: &'a Cell<u32>,
    ready: bool,
    _not_send: Rc<()>,
}

impl<'a> Service<&'a str> for Borrowing<'a> {
    type Response = &'a str;
    type Error = ();
    type Future = Ready<Result<&'a str, ()>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: &'a str) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been polled ready");
        self.calls.set(self.calls.get() + 1);
        ready(if request.is_empty() { Err(()) } else { Ok(request) })
    }
}

#[test]
fn a_service_need_not_be_clone_send_or_static_and_needs_no_runtime() {
    let calls = Cell::new(0);
    let request = String::from("hello");
    let layer = CircuitBreakerLayer::builder("any").call_metrics(call_metrics()).build().unwrap();
    let mut service =
        layer.layer(Borrowing { calls: &calls, ready: false, _not_send: Rc::default() });
    for _ in 0..3 {
        assert_ready_ok!(task::spawn(()).enter(|cx, _| service.poll_ready(cx)));
        let answer = assert_ready!(task::spawn(service.call(request.as_str())).poll());
        assert_eq!(answer, Ok("hello"));
    }
    for _ in 0..5 {
        assert_ready_ok!(task::spawn(()).enter(|cx, _| service.poll_ready(cx)));
        assert_ready!(task::spawn(service.call("")).poll()).unwrap_err();
    }
    assert_eq!(service.breaker().state(), State::Open);
    assert_ready_ok!(task::spawn(()).enter(|cx, _| service.poll_ready(cx)));
    assert_ready!(task::spawn(service.call("x")).poll()).unwrap_err();
    assert_eq!(calls.get(), 8);
}

#[test]
fn repeated_layering_creates_no_second_breaker() {
    let layer = CircuitBreakerLayer::builder("one").call_metrics(call_metrics()).build().unwrap();
    let answering = |answer: Result<(), ()>| tower::service_fn(move |(): ()| ready(answer));
    for round in 0..5 {
        let mut service = layer.clone().layer(answering(Err(())));
        assert_ready_ok!(task::spawn(()).enter(|cx, _| service.poll_ready(cx)));
        assert_ready!(task::spawn(service.call(())).poll()).unwrap_err();
        assert_eq!(layer.breaker().stats().consecutive_failures(), round + 1);
    }
    assert_eq!(layer.breaker().state(), State::Open);
    let service = layer.layer(answering(Ok(())));
    assert_eq!(service.breaker().state(), State::Open);
}

#[test]
fn the_inner_service_is_accessible() {
    let layer = CircuitBreakerLayer::builder("inner").call_metrics(call_metrics()).build().unwrap();
    let mut service = layer.layer(7);
    assert_eq!(*service.get_ref(), 7);
    *service.get_mut() += 1;
    assert_eq!(service.into_inner(), 8);
}
