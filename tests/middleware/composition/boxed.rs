use tokio_test::{assert_ready, assert_ready_ok, task};
use tower::{
    Layer, Service, ServiceExt,
    util::{BoxCloneService, BoxCloneSyncService, BoxService},
};
use tower_breaker::{CircuitBreaker, Error, State};

use super::*;

type Answer = Result<u32, Error<Broken>>;

/// Checks that a failure opens the circuit, that it rejects, and that a probe closes it.
async fn opens_rejects_and_closes<S>(service: &mut S, handle: &mut Handle, breaker: &Breaker)
where
    S: Service<u32, Response = u32, Error = Error<Broken>>,
{
    assert_ready_ok!(poll_ready(service));
    let mut call = task::spawn(service.call(1));
    fail(handle);
    let failed: Answer = assert_ready!(call.poll());
    assert!(matches!(failed, Err(Error::Inner(_))));
    assert_eq!(breaker.state(), State::Open);
    assert_rejected(call_at_once(service));

    tokio::time::advance(OPEN_TIME).await;
    assert_ready_ok!(poll_ready(service));
    let mut probe = task::spawn(service.call(1));
    answer(handle, 7);
    assert_eq!(assert_ready_ok!(probe.poll()), 7);
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_works_inside_a_box() {
    let (service, mut handle, breaker) = guarded();
    opens_rejects_and_closes(&mut BoxService::new(service), &mut handle, &breaker).await;
    let (service, mut handle, breaker) = guarded();
    opens_rejects_and_closes(&mut service.boxed_clone(), &mut handle, &breaker).await;
    let (service, mut handle, breaker) = guarded();
    let mut boxed = BoxCloneSyncService::new(service);
    opens_rejects_and_closes(&mut boxed, &mut handle, &breaker).await;
}

#[tokio::test(start_paused = true)]
async fn a_breaker_works_around_a_box() {
    let (inner, mut handle) = client();
    let mut service: CircuitBreaker<BoxService<_, _, _>> = layer().layer(inner.boxed());
    let breaker = service.breaker().clone();
    opens_rejects_and_closes(&mut service, &mut handle, &breaker).await;

    let (inner, mut handle) = client();
    let mut service: CircuitBreaker<BoxCloneService<_, _, _>> = layer().layer(inner.boxed_clone());
    let breaker = service.breaker().clone();
    opens_rejects_and_closes(&mut service, &mut handle, &breaker).await;
}

#[tokio::test(start_paused = true)]
async fn clones_of_a_box_share_the_breaker_but_not_readiness() {
    let (service, mut handle, breaker) = guarded();
    let mut boxed = BoxCloneSyncService::new(service);
    assert_ready_ok!(poll_ready(&mut boxed));
    let mut clone = boxed.clone();
    assert_rejected(assert_ready!(poll_once(clone.call(1))));
    let mut call = task::spawn(boxed.call(2));
    fail(&mut handle);
    assert!(assert_ready!(call.poll()).is_err());
    assert_eq!(breaker.state(), State::Open);
    assert_rejected(call_at_once(&mut clone));
}

#[tokio::test(start_paused = true)]
async fn a_boxed_service_can_be_called_from_many_tasks() {
    let (service, mut handle, breaker) = guarded();
    let boxed = BoxCloneSyncService::new(service);
    let calls: Vec<_> = (0..10).map(|number| tokio::spawn(boxed.clone().oneshot(number))).collect();
    for _ in 0..10 {
        let (number, send) = handle.next_request().await.unwrap();
        send.send_response(number * 2);
    }
    for (number, call) in (0..).zip(calls) {
        assert_eq!(call.await.unwrap().unwrap(), number * 2);
    }
    trip(&breaker);
    let rejected = tokio::spawn(boxed.oneshot(1)).await.unwrap();
    assert_rejected(rejected);
}
