use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{
    BoxError, Layer, Service,
    filter::{AsyncFilter, Filter},
};
use tower_breaker::{Outcome, State};

use super::*;

#[derive(Debug)]
struct Odd;

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("odd")
    }
}

impl std::error::Error for Odd {}

fn even(number: u32) -> Result<u32, BoxError> {
    if number.is_multiple_of(2) { Ok(number) } else { Err(Odd.into()) }
}

#[tokio::test(start_paused = true)]
async fn above_the_breaker_does_not_see_filtered_requests() {
    let (service, mut handle, breaker) = guarded();
    trip(&breaker);
    tokio::time::advance(OPEN_TIME).await;
    let mut filter = Filter::new(service, even);
    for _ in 0..5 {
        assert_ready_ok!(poll_ready(&mut filter));
        assert!(assert_ready_err!(poll_once(filter.call(1))).is::<Odd>());
    }
    assert_eq!(breaker.state(), State::HalfOpen);
    // The unused readiness serves the next call.
    let mut probe = task::spawn(filter.call(2));
    answer(&mut handle, 7);
    assert_eq!(assert_ready_ok!(probe.poll()), 7);
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn above_a_rejection_is_passed_on() {
    let (service, _handle, breaker) = guarded();
    trip(&breaker);
    let mut filter = Filter::new(service, |number: u32| even(number * 2));
    assert_rejected(call_at_once(&mut filter));
}

/// While it examines a request, an async filter keeps the ready service and continues with a clone.
#[tokio::test(start_paused = true)]
async fn above_an_async_filter_calls_the_service_that_was_ready() {
    let (service, mut handle, breaker) = guarded();
    let patient = |number: u32| async move {
        tokio::task::yield_now().await;
        even(number)
    };
    let mut filter = AsyncFilter::new(service, patient);
    let mut calls = Vec::new();
    for number in [2, 4] {
        assert_ready_ok!(poll_ready(&mut filter));
        calls.push(task::spawn(filter.call(number)));
    }
    for call in &mut calls {
        assert_pending!(call.poll());
        assert_pending!(call.poll());
        answer(&mut handle, 7);
        assert_ready_ok!(call.poll());
    }
    // If the circuit opens meanwhile, the call is rejected.
    assert_ready_ok!(poll_ready(&mut filter));
    let mut call = task::spawn(filter.call(2));
    assert_pending!(call.poll());
    trip(&breaker);
    assert_rejected(assert_ready!(call.poll()));
}

#[tokio::test(start_paused = true)]
async fn below_a_filtered_request_is_a_failure_unless_the_classifier_says_otherwise() {
    let (client, _handle) = client();
    let ignoring_filtered = builder().classify(|result: &Result<u32, BoxError>| match result {
        Err(error) if error.is::<Odd>() => Outcome::Ignore,
        Err(_) => Outcome::failure(),
        Ok(_) => Outcome::Success,
    });
    let mut ignoring = ignoring_filtered.build().unwrap().layer(Filter::new(client.clone(), even));
    assert_ready_ok!(poll_ready(&mut ignoring));
    assert_ready_err!(poll_once(ignoring.call(1)));
    assert_eq!(ignoring.breaker().state(), State::Closed);

    let mut service = layer().layer(Filter::new(client, even));
    assert_ready_ok!(poll_ready(&mut service));
    assert_ready_err!(poll_once(service.call(1)));
    assert_eq!(service.breaker().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn below_no_request_is_examined_while_the_circuit_is_open() {
    let (client, _handle) = client();
    let looking = |_: u32| -> Result<u32, BoxError> { panic!("a request was examined") };
    let mut service = layer().layer(Filter::new(client, looking));
    trip(&service.breaker().clone());
    assert_ready_ok!(poll_ready(&mut service));
    assert_ready_err!(poll_once(service.call(1)));
}
