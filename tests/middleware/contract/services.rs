//! Services of every kind: promise 1 allows no bound beyond what `tower::Service` needs.

use std::{
    cell::Cell,
    future::{Ready, ready},
    rc::Rc,
    task::{Context, Poll},
};

use tokio_test::{assert_ready, assert_ready_ok, task};
use tower::{Layer, Service};
use tower_breaker::{CircuitBreakerLayer, State};

/// Neither `Clone`, nor `Send`, nor `'static`; ready for one call at a time, and it notices if
/// another service is called than the one that was asked.
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
        assert!(std::mem::take(&mut self.ready), "called without having been asked");
        self.calls.set(self.calls.get() + 1);
        ready(if request.is_empty() { Err(()) } else { Ok(request) })
    }
}

#[test]
fn a_service_need_be_neither_clone_nor_send_nor_static_and_no_runtime_runs() {
    let calls = Cell::new(0);
    let request = String::from("hello");
    let layer = CircuitBreakerLayer::builder("any").build().unwrap();
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
fn layering_again_and_again_makes_no_second_breaker() {
    let layer = CircuitBreakerLayer::builder("one").build().unwrap();
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
fn the_inner_service_can_be_reached() {
    let layer = CircuitBreakerLayer::builder("inner").build().unwrap();
    let mut service = layer.layer(7);
    assert_eq!(*service.get_ref(), 7);
    *service.get_mut() += 1;
    assert_eq!(service.into_inner(), 8);
}
