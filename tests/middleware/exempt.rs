//! Requests that bypass the breaker.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode},
    routing::get,
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, Error, KeyedBreakers, KeyedCircuitBreakerLayer, OnBodyEnd, State,
    Trip,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    Works,
    Fails,
    Exempt,
    ExemptFails,
}
use Call::{Exempt, ExemptFails, Fails, Works};

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature of `exempt`")]
fn is_exempt(call: &Call) -> bool {
    matches!(call, Exempt | ExemptFails)
}

fn answer(call: Call) -> Ready<Result<(), &'static str>> {
    ready(if matches!(call, Fails | ExemptFails) { Err("failed") } else { Ok(()) })
}

#[tokio::test]
async fn an_exempt_request_is_not_recorded_and_passes_while_the_circuit_is_open() {
    let layer = CircuitBreakerLayer::builder("exempt").exempt(is_exempt).build().unwrap();
    let mut service = layer.layer(service_fn(async |call| answer(call).await));
    let breaker = layer.breaker();
    for _ in 0..10 {
        service.ready().await.unwrap().call(ExemptFails).await.unwrap_err();
    }
    assert_eq!(breaker.state(), State::Closed);
    for _ in 0..4 {
        service.ready().await.unwrap().call(Fails).await.unwrap_err();
    }
    // A success that counted would reset the consecutive failures.
    service.ready().await.unwrap().call(Exempt).await.unwrap();
    service.ready().await.unwrap().call(Fails).await.unwrap_err();
    assert_eq!(breaker.state(), State::Open);

    service.ready().await.unwrap().call(Exempt).await.unwrap();
    let rejected = service.ready().await.unwrap().call(Works).await.unwrap_err();
    assert!(rejected.rejected().is_some());
}

#[tokio::test]
async fn an_exempt_request_takes_no_slot_of_a_probe() {
    let clock = tower_breaker::clock::ManualClock::new();
    let layer = CircuitBreakerLayer::builder("exempt")
        .exempt(is_exempt)
        .clock(clock.clone())
        .build()
        .unwrap();
    let mut service = layer.layer(service_fn(async |call| answer(call).await));
    layer.breaker().trip();
    clock.advance(std::time::Duration::from_secs(60));
    let exempt = service.ready().await.unwrap().call(Exempt);
    let probe = service.ready().await.unwrap().call(Works);
    let second = service.ready().await.unwrap().call(Works);
    assert!(second.await.unwrap_err().rejected().is_some(), "the slot is taken");
    let during = service.ready().await.unwrap().call(Exempt);
    exempt.await.unwrap();
    during.await.unwrap();
    assert_eq!(layer.breaker().state(), State::HalfOpen);
    probe.await.unwrap();
    assert_eq!(layer.breaker().state(), State::Closed);
}

/// An inner service whose readiness is set by hand.
#[derive(Clone)]
struct Gated(Arc<AtomicBool>);

impl Service<Call> for Gated {
    type Response = ();
    type Error = &'static str;
    type Future = Ready<Result<(), &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        if self.0.load(SeqCst) { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, call: Call) -> Self::Future {
        assert!(self.0.load(SeqCst), "called without readiness");
        answer(call)
    }
}

#[tokio::test]
async fn an_open_circuit_does_not_wait_for_the_inner_service() {
    let is_ready = Arc::new(AtomicBool::new(false));
    let layer = CircuitBreakerLayer::builder("not-ready").exempt(is_exempt).build().unwrap();
    let mut service = layer.layer(Gated(Arc::clone(&is_ready)));
    layer.breaker().force_open();
    for call in [Works, Exempt, Exempt] {
        let error = service.ready().await.unwrap().call(call).await.unwrap_err();
        assert!(error.rejected().is_some(), "{call:?}");
    }
    let metrics = layer.breaker().metrics().unwrap();
    assert_eq!((metrics.calls.rejected, metrics.calls.total()), (1, 1), "an exempt one is no call");
    is_ready.store(true, SeqCst);
    service.ready().await.unwrap().call(Exempt).await.unwrap();
    let error = service.ready().await.unwrap().call(Works).await.unwrap_err();
    assert!(error.rejected().is_some());
}

#[tokio::test]
async fn with_backpressure_an_exempt_request_waits_like_the_others() {
    let layer = CircuitBreakerLayer::builder("backpressure")
        .exempt(is_exempt)
        .backpressure()
        .build()
        .unwrap();
    let mut service = layer.layer(service_fn(async |call| answer(call).await));
    layer.breaker().force_open();
    assert!(now(service.ready()).is_none());
    layer.breaker().reset();
    service.ready().await.unwrap().call(Exempt).await.unwrap();
    assert_eq!(layer.breaker().metrics().unwrap().calls.total(), 0);
}

/// What a future has now.
fn now<F: Future>(future: F) -> Option<F::Output> {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut cx) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[tokio::test]
async fn an_exempt_request_always_passes_a_keyed_layer() {
    let breakers = KeyedBreakers::builder("keys-exempt").build().unwrap();
    let layer = KeyedCircuitBreakerLayer::by_key(breakers.clone(), |_: &Call| Some("key".into()))
        .exempt(is_exempt);
    let is_ready = Arc::new(AtomicBool::new(true));
    let mut service = layer.layer(Gated(Arc::clone(&is_ready)));
    for call in [ExemptFails; 10] {
        service.ready().await.unwrap().call(call).await.unwrap_err();
    }
    assert!(breakers.is_empty(), "none of them is recorded");
    for call in [Fails; 5] {
        service.ready().await.unwrap().call(call).await.unwrap_err();
    }
    let rejected = service.ready().await.unwrap().call(Works).await.unwrap_err();
    assert!(rejected.rejected().is_some());
    is_ready.store(false, SeqCst);
    assert!(now(service.ready()).is_none(), "as ready as the inner service");
    is_ready.store(true, SeqCst);
    service.ready().await.unwrap().call(Exempt).await.unwrap();
    let calls = breakers.metrics().calls;
    assert_eq!((calls.failure, calls.rejected, calls.total()), (5, 1, 6));
}

/// Readiness that was granted while the circuit was open is for exempt requests alone, also if it
/// has closed meanwhile.
#[tokio::test]
async fn a_call_after_readiness_in_an_open_circuit_is_rejected_after_a_reset_too() {
    let layer = CircuitBreakerLayer::builder("exempt").exempt(is_exempt).build().unwrap();
    let mut service = layer.layer(service_fn(async |call| answer(call).await));
    layer.breaker().force_open();
    service.ready().await.unwrap();
    layer.breaker().reset();
    assert!(service.call(Works).await.unwrap_err().rejected().is_some());
}

#[tokio::test]
async fn an_error_of_readiness_is_returned_while_the_circuit_is_open() {
    #[derive(Debug)]
    struct Broken;
    impl Service<Call> for Broken {
        type Response = ();
        type Error = &'static str;
        type Future = Ready<Result<(), &'static str>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            Poll::Ready(Err("broken"))
        }
        fn call(&mut self, _: Call) -> Self::Future {
            unreachable!()
        }
    }
    let layer = CircuitBreakerLayer::builder("exempt").exempt(is_exempt).build().unwrap();
    layer.breaker().force_open();
    let mut service = layer.layer(Broken);
    let error = service.ready().await.unwrap_err();
    assert!(matches!(error, Error::Inner("broken")));
}

#[tokio::test]
async fn health_checks_of_a_router_pass_an_open_circuit() {
    let layer = CircuitBreakerLayer::builder("exempt")
        .exempt(|request: &Request<Body>| {
            request.method() == Method::OPTIONS || request.uri().path() == "/health"
        })
        .http()
        .on_body_end(OnBodyEnd::new())
        .build()
        .unwrap();
    layer.breaker().force_open();
    let router: Router = Router::new()
        .route("/", get(async || "hello").options(async || "options"))
        .route("/health", get(async || "well"))
        .layer(layer);
    let status = async |method: Method, path: &str| {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response: Result<_, Infallible> = router.clone().oneshot(request).await;
        response.unwrap().status()
    };
    assert_eq!(status(Method::GET, "/health").await, StatusCode::OK);
    assert_eq!(status(Method::OPTIONS, "/").await, StatusCode::OK);
    assert_eq!(status(Method::GET, "/").await, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn wrapped_bodies_keep_the_exemption() {
    let layer = CircuitBreakerLayer::builder("exempt")
        .http()
        .exempt(|request: &Request<Body>| request.uri().path() == "/health")
        .on_body_end(OnBodyEnd::new())
        .wrap_body(Body::new)
        .build()
        .unwrap();
    layer.breaker().force_open();
    let router: Router = Router::new().route("/health", get(async || "well")).layer(layer);
    let request = Request::builder().uri("/health").body(Body::empty()).unwrap();
    assert_eq!(router.oneshot(request).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn whether_a_request_is_exempt_is_asked_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&asked);
    let is_every_third = move |_: &Call| counts.fetch_add(1, SeqCst) % 3 == 2;
    let layer = CircuitBreakerLayer::builder("sampled").exempt(is_every_third).build().unwrap();
    let mut service = layer.layer(service_fn(async |call| answer(call).await));
    for number in 1..=6 {
        service.ready().await.unwrap().call(Fails).await.unwrap_err();
        assert_eq!(asked.load(SeqCst), number);
    }
    assert_eq!(layer.breaker().stats().consecutive_failures(), 4);
}

/// The same breaker further in is not nested in a call that does not count.
#[tokio::test]
async fn a_call_by_hand_within_an_exempt_request_counts_and_is_rejected() {
    let breaker =
        Breaker::builder("exempt").trip_on(Trip::consecutive_failures(1)).build().unwrap();
    let by_hand = breaker.clone();
    let handler = service_fn(move |call: Call| {
        let by_hand = by_hand.clone();
        async move {
            let down = async { Err::<(), _>(io::Error::other("down")) };
            match call {
                Exempt => by_hand.call(down).await,
                _ => by_hand.call_blocking(|| Err(io::Error::other("down"))),
            }
        }
    });
    let layer = CircuitBreakerLayer::new(breaker.clone()).exempt(is_exempt);
    let mut service = layer.layer(handler);
    for call in [Exempt, ExemptFails] {
        breaker.reset();
        let failed = service.ready().await.unwrap().call(call).await.unwrap_err();
        assert!(matches!(failed, Error::Inner(Error::Inner(_))), "{failed:?}");
        assert_eq!(breaker.state(), State::Open, "the call by hand failed");
        breaker.force_open();
        let rejected = service.ready().await.unwrap().call(call).await.unwrap_err();
        assert!(matches!(rejected, Error::Inner(Error::Rejected(_))), "{rejected:?}");
    }
    // An exempt request within a call that counts is part of that call.
    breaker.reset();
    breaker.call(service.ready().await.unwrap().call(Exempt)).await.unwrap_err();
    assert_eq!(breaker.stats().consecutive_opens(), 1);
    assert_eq!(breaker.state(), State::Open);
}
