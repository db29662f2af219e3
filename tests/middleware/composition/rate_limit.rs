use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::{
    Layer, Service,
    limit::{RateLimit, rate::Rate},
};
use tower_breaker::State;
use tower_test::mock;

use super::*;

const PERIOD: Duration = Duration::from_secs(1);

fn two_a_second() -> Rate {
    Rate::new(2, PERIOD)
}

/// The limit is on requests, whatever their outcome.
#[tokio::test(start_paused = true)]
async fn above_a_rejection_counts_like_any_other_call() {
    let (service, _handle, breaker) = guarded();
    let mut limit = RateLimit::new(service, two_a_second());
    trip(&breaker);
    for _ in 0..2 {
        assert_rejected(call_at_once(&mut limit));
    }
    assert_pending!(poll_ready(&mut limit));
    tokio::time::advance(PERIOD).await;
    assert_rejected(call_at_once(&mut limit));
}

#[tokio::test(start_paused = true)]
async fn below_an_exhausted_limit_is_not_waited_for_once_the_circuit_opens() {
    let (client, mut handle) = client();
    let layer = layer();
    let mut service = mock::Spawn::new(layer.layer(RateLimit::new(client, two_a_second())));
    for _ in 0..2 {
        assert_ready_ok!(service.poll_ready());
        let mut call = task::spawn(service.call(1));
        answer(&mut handle, 1);
        assert_ready_ok!(call.poll());
    }
    assert_pending!(service.poll_ready());
    trip(layer.breaker());
    assert!(service.is_woken());
    // The limit would panic if it were called.
    for _ in 0..5 {
        assert_ready_ok!(service.poll_ready());
        assert_rejected(assert_ready!(poll_once(service.call(1))));
    }
    assert!(handle.poll_request().is_pending());
}

#[tokio::test(start_paused = true)]
async fn below_rejections_do_not_count() {
    let (client, mut handle) = client();
    let mut service = layer().layer(RateLimit::new(client, two_a_second()));
    let breaker = service.breaker().clone();
    // Two services were ready before the circuit opened, and eight came later.
    for _ in 0..2 {
        assert_ready_ok!(poll_ready(&mut service));
        breaker.force_open();
        assert_rejected(assert_ready!(poll_once(service.call(1))));
        breaker.reset();
    }
    trip(&breaker);
    for _ in 0..8 {
        assert_rejected(call_at_once(&mut service));
    }
    breaker.reset();
    for _ in 0..2 {
        assert_ready_ok!(poll_ready(&mut service));
        let mut call = task::spawn(service.call(1));
        answer(&mut handle, 1);
        assert_ready_ok!(call.poll());
    }
    assert_pending!(poll_ready(&mut service));
    assert_eq!(breaker.state(), State::Closed);
}
