use tokio_test::{assert_pending, task};
use tower::{
    BoxError, Layer, Service, ServiceExt,
    timeout::{Timeout, error::Elapsed},
};
use tower_breaker::{Error, State};

use super::*;

const LIMIT: Duration = Duration::from_secs(5);

#[track_caller]
fn assert_elapsed(result: Result<u32, BoxError>) {
    let error = result.expect_err("no error");
    assert!(error.is::<Elapsed>(), "not elapsed: {error}");
}

/// For timeouts to count as failures, the timeout goes below the breaker.
#[tokio::test(start_paused = true)]
async fn above_an_elapsed_call_is_cancelled_and_not_a_failure() {
    let (service, _handle, breaker) = guarded();
    let mut service = Timeout::new(service, LIMIT);
    for _ in 0..10 {
        assert_elapsed(service.ready().await.unwrap().call(1).await);
    }
    assert_eq!((breaker.state(), breaker.stats().consecutive_failures()), (State::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn above_an_elapsed_probe_releases_its_slot() {
    let (service, _handle, breaker) = guarded();
    let mut service = Timeout::new(service, LIMIT);
    trip(&breaker);
    tokio::time::advance(OPEN_TIME).await;
    for _ in 0..3 {
        assert_elapsed(service.ready().await.unwrap().call(1).await);
        assert_eq!(breaker.state(), State::HalfOpen);
    }
    breaker.try_acquire().expect("a free slot").success();
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn above_a_rejection_takes_no_time() {
    let (service, _handle, breaker) = guarded();
    let mut service = Timeout::new(service, Duration::ZERO);
    trip(&breaker);
    assert_rejected(call_at_once(&mut service));
}

#[tokio::test(start_paused = true)]
async fn below_an_elapsed_call_is_a_failure() {
    let (client, _handle) = client();
    let mut service = layer().layer(Timeout::new(client, LIMIT));
    let breaker = service.breaker().clone();
    let error = service.ready().await.unwrap().call(1).await.unwrap_err();
    assert_elapsed(Err(error.into_inner().unwrap()));
    assert_eq!(breaker.state(), State::Open);

    tokio::time::advance(OPEN_TIME).await;
    service.ready().await.unwrap().call(1).await.unwrap_err();
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn below_the_timeout_runs_only_for_admitted_calls() {
    let (client, mut handle) = client();
    let mut service = layer().layer(Timeout::new(client, LIMIT));
    let breaker = service.breaker().clone();
    trip(&breaker);
    let start = tokio::time::Instant::now();
    for _ in 0..3 {
        let answer = service.ready().await.unwrap().call(1).await;
        assert!(matches!(answer, Err(Error::Rejected(_))));
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(handle.poll_request().is_pending());
}

/// The inner timeout limits the dependency, the outer one the caller's wait.
#[tokio::test(start_paused = true)]
async fn with_timeouts_on_both_sides_the_shorter_one_decides_the_outcome() {
    for (above, below, state) in [(1, 2, State::Closed), (2, 1, State::Open)] {
        let (client, _handle) = client();
        let layer = builder().reject_with(RejectAsBoxError).build().unwrap();
        let guarded = layer.layer(Timeout::new(client, LIMIT * below));
        let mut service = Timeout::new(guarded, LIMIT * above);
        let mut call = task::spawn(service.ready().await.unwrap().call(1));
        assert_pending!(call.poll());
        assert_elapsed(call.await);
        assert_eq!(layer.breaker().state(), state);
    }
}
