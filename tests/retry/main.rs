//! The retry policy: with scripted services on paused time, with breakers, and over loopback.

use std::{
    convert::Infallible,
    error::Error as StdError,
    io::{self, ErrorKind},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Method, Request, Response, StatusCode};
use tokio::time::Instant;
use tower::{
    BoxError, Service, ServiceBuilder, ServiceExt,
    retry::{
        Policy, RetryLayer,
        budget::{Budget, TpsBudget},
    },
    service_fn,
    util::BoxCloneSyncService,
};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, Error, Outcome, Rejected, RetryPolicy, State, Trip,
    classify::{ErrorsAsFailures, ServerErrorsAsFailures},
    reject::RejectAsBoxError,
    retry::{self, AsCause, Classified, Network},
};

mod around_a_breaker;
mod budget;
mod choice;
mod over_loopback;
mod presets;
mod presets_over_loopback;
mod rejections;
mod shapes;
mod statuses;
mod waiting;

#[path = "../../examples/retry.rs"]
#[allow(dead_code, unreachable_pub, reason = "`main` is for the example alone")]
mod example;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// The calls of a service, with their times.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Instant>>>);

impl Log {
    /// Records a call and returns its number, from 1.
    fn note(&self) -> usize {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(Instant::now());
        calls.len()
    }

    fn calls(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The times between the calls.
    fn waits(&self) -> Vec<Duration> {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

/// The result of a request whose attempts all end like this, and the number of attempts.
async fn attempts<P, Req, T, E>(
    policy: P,
    request: Req,
    answer: impl Fn() -> Result<T, E> + Clone,
) -> (usize, Result<T, E>)
where
    P: Policy<Req, T, E> + Clone,
{
    let log = Log::default();
    let service = service_fn(|_: Req| {
        log.note();
        let answer = answer.clone();
        async move { answer() }
    });
    let result = ServiceBuilder::new().layer(RetryLayer::new(policy)).service(service);
    let result = result.oneshot(request).await;
    (log.calls(), result)
}

fn get() -> Request<()> {
    Request::new(())
}

fn with_method(method: Method) -> Request<()> {
    let mut request = get();
    *request.method_mut() = method;
    request
}

fn answer(status: u16) -> Response<String> {
    Response::builder().status(status).body(String::new()).unwrap()
}

fn asks(status: u16, retry_after: &str) -> Response<String> {
    let mut response = answer(status);
    response.headers_mut().insert("retry-after", retry_after.parse().unwrap());
    response
}

fn rejected() -> Rejected {
    let breaker = Breaker::builder("rejects").build().unwrap();
    breaker.force_open();
    breaker.try_acquire().unwrap_err()
}

/// A budget of ten retries in ten seconds, and one more for each deposit.
fn ten() -> Arc<TpsBudget> {
    Arc::new(TpsBudget::new(Duration::from_secs(10), 1, 1.0))
}

/// The number of retries left in a budget.
fn left(budget: &TpsBudget) -> usize {
    (0..1000).take_while(|_| budget.withdraw()).count()
}

/// An error with a source.
#[derive(Debug)]
struct Wrapped(BoxError);

impl std::fmt::Display for Wrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("wrapped")
    }
}

impl StdError for Wrapped {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.0)
    }
}
