//! Bodies whose end decides the outcome of a call, poll by poll and in memory.

mod compose;
mod ends;
mod first_message;
mod heads;
mod probes;
mod script;
mod sizes;
mod slow;
mod stalls;
mod trailers;
mod transparent;

use std::{
    future::ready,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use http::{Response, StatusCode};
use http_body::Body;
use tokio_test::{assert_ready, assert_ready_ok, task};
use tower::{Layer, Service, service_fn};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, OnBodyEnd, Trip, Window,
    body::ResponseBody,
    classify::{ClassifyBody, ServerErrorsAsFailures},
    clock::ManualClock,
    reject::RejectAsError,
};

const OPEN_TIME: Duration = Duration::from_secs(60);

/// The error of a call without a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refused;

type Watched<B, C> = ResponseBody<B, <C as ClassifyBody<B, Refused>>::Eos>;

/// A breaker that never trips, and counts every call.
struct Setup<C = ServerErrorsAsFailures> {
    layer: CircuitBreakerLayer<C, RejectAsError, OnBodyEnd>,
}

/// The recorded `(successes, failures)`.
type Counted = (u64, u64);

impl Setup {
    fn new() -> Self {
        Self::with(ServerErrorsAsFailures, OnBodyEnd::new())
    }
}

impl<C: Clone> Setup<C> {
    fn with(classify: C, settle: OnBodyEnd) -> Self {
        let layer = CircuitBreakerLayer::builder("bodies")
            .trip_on(Trip::failure_rate(1.0, Window::calls(1000)).minimum_calls(1000))
            .classify(classify)
            .on_body_end(settle)
            .build()
            .unwrap();
        // Successes are counted only while the window holds a failure.
        layer.breaker().try_acquire().unwrap().failure();
        Self { layer }
    }

    fn breaker(&self) -> &Breaker {
        self.layer.breaker()
    }

    fn counted(&self) -> Counted {
        let stats = self.breaker().stats();
        (stats.window_calls() - stats.window_failures(), stats.window_failures() - 1)
    }

    fn respond<B>(&self, response: Response<B>) -> Response<Watched<B, C>>
    where
        B: Body,
        C: ClassifyBody<B, Refused>,
    {
        respond(&self.layer, response)
    }

    /// The watched body of a response with status 200.
    fn body<B>(&self, body: B) -> Watched<B, C>
    where
        B: Body,
        C: ClassifyBody<B, Refused>,
    {
        self.respond(Response::new(body)).into_body()
    }
}

type HalfOpen =
    (CircuitBreakerLayer<ServerErrorsAsFailures, RejectAsError, OnBodyEnd>, ManualClock);

/// A name that no other breaker has: what is counted under one name is counted together.
fn new_name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("streaming-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A half-open breaker that admits one probe.
fn half_open(settle: OnBodyEnd, rules: &[Trip]) -> HalfOpen {
    let clock = ManualClock::new();
    let builder = CircuitBreakerLayer::builder(new_name())
        .trip_on(Trip::consecutive_failures(1))
        .recovery_timeout(OPEN_TIME)
        .clock(clock.clone())
        .classify(ServerErrorsAsFailures)
        .on_body_end(settle);
    let builder = rules.iter().fold(builder, |builder, rule| builder.trip_on(*rule));
    let layer = builder.build().unwrap();
    layer.breaker().try_acquire().unwrap().failure();
    clock.advance(OPEN_TIME);
    (layer, clock)
}

/// Makes a call to an inner service with this response.
fn call<B, C>(
    layer: &CircuitBreakerLayer<C, RejectAsError, OnBodyEnd>,
    answer: Result<Response<B>, Refused>,
) -> Result<Response<Watched<B, C>>, tower_breaker::Error<Refused>>
where
    B: Body,
    C: ClassifyBody<B, Refused> + Clone,
{
    let mut answer = Some(answer);
    let mut service = layer.layer(service_fn(move |(): ()| ready(answer.take().unwrap())));
    assert_ready_ok!(task::spawn(()).enter(|cx, _| service.poll_ready(cx)));
    assert_ready!(task::spawn(service.call(())).poll())
}

fn respond<B, C>(
    layer: &CircuitBreakerLayer<C, RejectAsError, OnBodyEnd>,
    response: Response<B>,
) -> Response<Watched<B, C>>
where
    B: Body,
    C: ClassifyBody<B, Refused> + Clone,
{
    call(layer, Ok(response)).expect("an admitted call")
}

fn status<B>(status: StatusCode, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
