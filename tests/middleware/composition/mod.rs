//! The middleware of tower above and below a breaker.

mod backpressure;
mod balance;
mod boxed;
mod buffer;
mod concurrency_limit;
mod filter;
mod load_shed;
mod make;
mod rate_limit;
mod ready_cache;
mod retry;
mod spawn_ready;
mod steer;
mod timeout;

use std::{
    fmt,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tower::{BoxError, Layer, Service, ServiceExt, util::MapErr};
use tower_breaker::{
    Breaker, CircuitBreaker, CircuitBreakerLayer, CircuitBreakerLayerBuilder, Rejected, Trip,
    clock::TokioClock, reject::RejectAsBoxError,
};
use tower_test::mock;

type Mock = mock::Mock<u32, u32>;
type Handle = mock::Handle<u32, u32>;

/// The mock with an error type of its own, like a client library has. `Error<BoxError>` does not
/// implement [`std::error::Error`], because a boxed error does not, and most of tower requires it.
type Client = MapErr<Mock, fn(BoxError) -> Broken>;

/// A client behind a breaker.
type Guarded = CircuitBreaker<Client>;

const OPEN_TIME: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Broken(BoxError);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Broken {}

/// A breaker that opens at the first failure, on tokio's time.
fn builder() -> CircuitBreakerLayerBuilder {
    CircuitBreakerLayer::builder("tower")
        .trip_on(Trip::consecutive_failures(1))
        .recovery_timeout(OPEN_TIME)
        .clock(TokioClock::new())
}

fn layer() -> CircuitBreakerLayer {
    builder().build().unwrap()
}

fn client() -> (Client, Handle) {
    let (mock, handle) = mock::pair();
    (mock.map_err(Broken as fn(BoxError) -> Broken), handle)
}

fn guarded() -> (Guarded, Handle, Breaker) {
    let (client, handle) = client();
    let service = layer().layer(client);
    let breaker = service.breaker().clone();
    (service, handle, breaker)
}

fn trip(breaker: &Breaker) {
    breaker.try_acquire().unwrap().failure();
}

/// Polls for readiness once.
fn poll_ready<S: Service<u32>>(service: &mut S) -> Poll<Result<(), S::Error>> {
    service.poll_ready(&mut Context::from_waker(Waker::noop()))
}

/// Polls the future once.
fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls for readiness and makes a call, neither of which may be pending.
#[track_caller]
fn call_at_once<S>(service: &mut S) -> Result<u32, BoxError>
where
    S: Service<u32, Response = u32>,
    S::Error: Into<BoxError>,
{
    let Poll::Ready(ready) = poll_ready(service) else { panic!("readiness is pending") };
    ready.map_err(Into::into)?;
    let Poll::Ready(answer) = poll_once(service.call(1)) else { panic!("the call is pending") };
    answer.map_err(Into::into)
}

#[track_caller]
fn assert_rejected<T: fmt::Debug>(result: Result<T, impl Into<BoxError>>) {
    let error = result.expect_err("no error").into();
    assert!(Rejected::find(&*error).is_some(), "not a rejection: {error}");
}

/// Responds to the waiting request.
#[track_caller]
fn answer(handle: &mut Handle, response: u32) {
    let Poll::Ready(Some((_, send))) = handle.poll_request() else { panic!("no request") };
    send.send_response(response);
}

/// Fails the waiting request.
#[track_caller]
fn fail(handle: &mut Handle) {
    let Poll::Ready(Some((_, send))) = handle.poll_request() else { panic!("no request") };
    send.send_error("broken");
}

/// Runs the tasks that were woken.
async fn let_others_work() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}
