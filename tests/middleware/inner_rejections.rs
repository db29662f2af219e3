//! A rejection by an inner breaker, as an [`Error`] of any type, is nothing to an outer one: from
//! the first call on.
//!
//! Each test has error types of its own, which no classifier of this process has met before.

use std::{future::ready, time::Duration};

use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{
    CircuitBreakerLayer, Error, Outcome, State, Trip,
    classify::{
        AnyErrorAsFailure, Classify, ErrorsAsFailures, GrpcClassifier, ServerErrorsAsFailures,
    },
};

/// A layer that opens at the first failure.
fn touchy(name: &str) -> CircuitBreakerLayer {
    CircuitBreakerLayer::builder(name).trip_on(Trip::consecutive_failures(1)).build().unwrap()
}

fn forced_open(name: &str) -> CircuitBreakerLayer {
    let layer = touchy(name);
    layer.breaker().force_open();
    layer
}

/// A service that always fails with this error.
fn failing<E: Clone + Send>(
    error: E,
) -> impl Service<(), Response = (), Error = E, Future: Send> + Clone {
    service_fn(move |(): ()| ready(Err::<(), _>(error.clone())))
}

async fn fail<S: Service<()>>(service: S) -> S::Error {
    service.oneshot(()).await.err().expect("an error")
}

#[tokio::test]
async fn the_first_rejection_of_a_type_does_not_count() {
    #[derive(Debug, Clone)]
    struct Opaque;

    let (inner, outer) = (forced_open("inner"), touchy("outer"));
    let error = fail(outer.layer(inner.layer(failing(Opaque)))).await;
    assert!(matches!(error, Error::Inner(Error::Rejected(_))));
    assert_eq!(outer.breaker().state(), State::Closed);
}

#[tokio::test]
async fn a_rejection_does_not_count_if_a_closure_classifies_for_the_inner_breaker() {
    #[derive(Debug, Clone)]
    struct Opaque;

    let classify = |result: &Result<(), Opaque>| match result {
        Ok(()) => Outcome::Success,
        Err(_) => Outcome::failure(),
    };
    let (inner, outer) = (touchy("inner").classify(classify), touchy("outer"));
    outer.breaker().update(tower_breaker::Config::default()).unwrap();
    let service = outer.layer(inner.layer(failing(Opaque)));
    for _ in 0..10 {
        fail(service.clone()).await;
        assert_eq!(outer.breaker().stats().consecutive_failures(), 1);
    }
}

/// Up to the outermost breaker, which finds it three errors deep.
#[tokio::test]
async fn a_rejection_does_not_count_through_several_breakers() {
    #[derive(Debug, Clone)]
    struct Opaque;

    let inner = forced_open("inner");
    let others = ["second", "third", "fourth"].map(touchy);
    let [second, third, fourth] = &others;
    let by_closure = |_: &Result<_, Error<Error<Opaque>>>| Outcome::Success;
    let third = third.clone().classify(by_closure);
    let service = fourth.layer(third.layer(second.layer(inner.layer(failing(Opaque)))));
    for _ in 0..3 {
        fail(service.clone()).await;
        assert!(others.iter().all(|layer| layer.breaker().state() == State::Closed));
    }
    inner.breaker().reset();
    fail(service.clone()).await;
    let states = others.map(|layer| layer.breaker().state());
    assert_eq!(states, [State::Open, State::Closed, State::Open]);
}

/// All with the default classifier, and no classifier has met the innermost error.
#[tokio::test]
async fn a_rejection_does_not_count_through_breakers_that_classify_alike() {
    #[derive(Debug, Clone)]
    struct Opaque;

    let inner = forced_open("inner");
    let others = ["second", "third", "fourth"].map(touchy);
    let [second, third, fourth] = &others;
    let service = fourth.layer(third.layer(second.layer(inner.layer(failing(Opaque)))));
    for _ in 0..3 {
        fail(service.clone()).await;
        let states = others.each_ref().map(|layer| layer.breaker().state());
        assert_eq!(states, [State::Closed; 3]);
    }
    inner.breaker().reset();
    fail(service.clone()).await;
    let states = others.map(|layer| layer.breaker().state());
    assert_eq!(states, [State::Open; 3]);
}

#[tokio::test]
async fn a_failure_of_the_same_type_counts_right_after_a_rejection() {
    #[derive(Debug, Clone)]
    struct Opaque;

    // Its classifier takes nothing for a failure.
    let inner = forced_open("inner").classify(|_: &Result<(), Opaque>| Outcome::Success);
    let outer = touchy("outer");
    let service = outer.layer(inner.layer(failing(Opaque)));
    fail(service.clone()).await;
    // And one that is not seen by the outer breaker.
    fail(inner.layer(failing(Opaque))).await;
    inner.breaker().reset();
    fail(service.clone()).await;
    assert_eq!(outer.breaker().state(), State::Open);
}

/// The answer of a fallback is no rejection, whatever its type.
#[tokio::test]
async fn the_error_of_a_fallback_counts() {
    #[derive(Debug, Clone)]
    struct Opaque;

    let inner = forced_open("inner");
    let outer = touchy("outer");
    let fallback = |(): (), _| ready(Err::<(), _>(Opaque));
    fail(outer.layer(inner.fallback(fallback).layer(failing(Opaque)))).await;
    assert_eq!(outer.breaker().state(), State::Open);

    // In the middle, after a rejection of another type.
    let outer = touchy("outer");
    let inner = forced_open("inner").layer(failing(Opaque));
    let middle = service_fn(move |(): ()| {
        let inner = inner.clone();
        async move {
            fail(inner).await;
            Err::<(), _>(Error::Inner(1_u8))
        }
    });
    fail(outer.layer(middle)).await;
    assert_eq!(outer.breaker().state(), State::Open);
}

#[tokio::test]
async fn other_classifiers_see_it_too() {
    #[derive(Debug, Clone)]
    struct Opaque;
    type Response = http::Response<String>;

    async fn holds<C>(classify: C)
    where
        C: Clone + Classify<Response, Error<Opaque>>,
    {
        let inner =
            forced_open("inner").layer(service_fn(|(): ()| ready(Err::<Response, _>(Opaque))));
        let outer = touchy("outer").classify(classify);
        fail(outer.layer(inner)).await;
        assert_eq!(outer.breaker().state(), State::Closed);
    }
    holds(ErrorsAsFailures).await;
    holds(ServerErrorsAsFailures).await;
    holds(GrpcClassifier::new()).await;
}

#[tokio::test]
async fn a_breaker_without_a_service_rejects_and_sees_rejections_like_one_with_it() {
    #[derive(Debug, Clone)]
    struct Opaque;
    #[derive(Debug, Clone)]
    struct Other;

    let inner = forced_open("inner");
    let outer = touchy("outer");
    let breaker = inner.breaker().clone();
    let service = outer.layer(service_fn(move |(): ()| {
        let breaker = breaker.clone();
        async move { breaker.call(ready(Err::<(), _>(Opaque))).await }
    }));
    assert!(fail(service).await.into_inner().unwrap().rejected().is_some());
    assert_eq!(outer.breaker().state(), State::Closed);

    let call = inner.layer(failing(Other)).oneshot(());
    outer.breaker().call(call).await.unwrap_err();
    assert_eq!(outer.breaker().state(), State::Closed);

    let call = inner.layer(failing(Other)).oneshot(());
    outer.breaker().try_acquire().unwrap().call(call).await.unwrap_err();
    assert_eq!(outer.breaker().state(), State::Closed);
}

/// On another thread, its type is known there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_type_that_a_classifier_has_met_is_recognized_across_threads() {
    #[derive(Debug, Clone)]
    struct Opaque;

    let inner = touchy("inner");
    let outer = touchy("outer");
    let service = inner.layer(failing(Opaque));
    fail(service.clone()).await;
    assert_eq!(inner.breaker().state(), State::Open);
    let spawned = outer.layer(service_fn(move |(): ()| {
        let call = tokio::spawn(service.clone().oneshot(()));
        async move { call.await.unwrap() }
    }));
    for _ in 0..10 {
        let call = tokio::time::timeout(Duration::from_secs(5), fail(spawned.clone())).await;
        assert!(matches!(call.unwrap(), Error::Inner(Error::Rejected(_))));
    }
    assert_eq!(outer.breaker().state(), State::Closed);
}

/// A failure of the same type, from another thread, where the rejection was not part of the call.
#[tokio::test]
async fn an_earlier_rejection_on_the_thread_does_not_hide_a_failure() {
    #[derive(Debug, Clone)]
    struct Opaque;

    fn failure<C: Classify<(), Opaque> + Clone + Send + 'static>(
        inner: &CircuitBreakerLayer<C>,
    ) -> Error<Opaque> {
        inner.breaker().reset();
        let service = inner.layer(failing(Opaque));
        let call = || tokio_test::block_on(fail(service));
        std::thread::scope(|scope| scope.spawn(call).join().unwrap())
    }
    // Classified by a closure, the error is of a type that no classifier has met.
    let inner = forced_open("inner").classify(|_: &Result<(), Opaque>| Outcome::Success);
    fail(inner.layer(failing(Opaque))).await;
    let outer = touchy("outer");
    fail(outer.layer(failing(failure(&inner)))).await;
    assert_eq!(outer.breaker().state(), State::Open);
    outer.breaker().reset();

    // An error that cannot be looked into.
    inner.breaker().force_open();
    fail(inner.layer(failing(Opaque))).await;
    let by_type = touchy("outer").classify(AnyErrorAsFailure);
    fail(by_type.layer(failing(failure(&inner)))).await;
    assert_eq!(by_type.breaker().state(), State::Open);

    // Part of the call, but not what it returned: the type is known, and so is the error.
    let inner = forced_open("inner");
    let error = failure(&inner);
    inner.breaker().force_open();
    let service = outer.layer(service_fn(move |(): ()| {
        let (inner, error) = (inner.clone(), error.clone());
        async move {
            fail(inner.layer(failing(Opaque))).await;
            Err::<(), _>(error)
        }
    }));
    fail(service).await;
    assert_eq!(outer.breaker().state(), State::Open);
}
