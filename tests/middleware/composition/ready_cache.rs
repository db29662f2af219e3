use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::ready_cache::ReadyCache;
use tower_breaker::State;

use super::*;

type Cache = ReadyCache<u32, Guarded, u32>;

#[tokio::test(start_paused = true)]
async fn an_open_service_is_ready_and_rejects_and_is_ready_again() {
    let (mut cache, mut task) = (Cache::default(), task::spawn(()));
    let (service, _handle, breaker) = guarded();
    trip(&breaker);
    cache.push(0, service);
    for _ in 0..5 {
        assert_ready_ok!(task.enter(|cx, _| cache.poll_pending(cx)));
        assert_rejected(assert_ready!(poll_once(cache.call_ready(&0, 1))));
        assert_eq!((cache.ready_len(), cache.pending_len()), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_waits_becomes_ready_when_its_circuit_opens() {
    let (mut cache, mut task) = (Cache::default(), task::spawn(()));
    let (waiting, mut waits, breaker) = guarded();
    let (other, mut others, _) = guarded();
    waits.allow(0);
    others.allow(0);
    cache.push(0, waiting);
    cache.push(1, other);
    assert_pending!(task.enter(|cx, _| cache.poll_pending(cx)));
    trip(&breaker);
    assert!(task.is_woken());
    assert_pending!(task.enter(|cx, _| cache.poll_pending(cx)));
    assert_eq!((cache.ready_len(), cache.pending_len()), (1, 1));
    assert_rejected(assert_ready!(poll_once(cache.call_ready(&0, 1))));
}

#[tokio::test(start_paused = true)]
async fn cached_readiness_to_reject_is_polled_again() {
    let (mut cache, mut task) = (Cache::default(), task::spawn(()));
    let (service, mut handle, breaker) = guarded();
    trip(&breaker);
    cache.push(0, service);
    assert_ready_ok!(task.enter(|cx, _| cache.poll_pending(cx)));
    tokio::time::advance(OPEN_TIME).await;
    assert!(task.enter(|cx, _| cache.check_ready(cx, &0)).unwrap());
    let mut probe = task::spawn(cache.call_ready(&0, 1));
    answer(&mut handle, 7);
    assert_eq!(assert_ready_ok!(probe.poll()), 7);
    assert_eq!(breaker.state(), State::Closed);

    // A service that was ready is pending again if the client has no more room.
    assert_ready_ok!(task.enter(|cx, _| cache.poll_pending(cx)));
    breaker.force_open();
    assert!(task.enter(|cx, _| cache.check_ready(cx, &0)).unwrap());
    assert_rejected(assert_ready!(poll_once(cache.call_ready(&0, 1))));
}

#[tokio::test(start_paused = true)]
async fn only_an_error_of_the_client_evicts_a_service() {
    let (mut cache, mut task) = (Cache::default(), task::spawn(()));
    let (failing, mut handle, _) = guarded();
    let (open, _handle, breaker) = guarded();
    handle.send_error("gone");
    trip(&breaker);
    cache.push(0, failing);
    cache.push(1, open);
    let failed = assert_ready_err!(task.enter(|cx, _| cache.poll_pending(cx)));
    assert_eq!((failed.0, failed.1.to_string()), (0, "gone".to_owned()));
    assert_ready_ok!(task.enter(|cx, _| cache.poll_pending(cx)));
    assert!(cache.get_ready(&1).is_some() && cache.len() == 1);
}
