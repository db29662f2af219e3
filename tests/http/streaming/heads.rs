//! Calls that are decided at the head.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{
    CircuitBreakerLayer, Error, OnBodyEnd, Outcome, Rejected, State, Trip,
    classify::{
        BodyFailure, ClassifiedResponse, Classify, ClassifyBody, ClassifyEos, ErrorsAsFailures,
        StatusClassifier, SuccessAtEos,
    },
};

use super::{
    Refused, Setup, call, half_open, respond,
    script::{Data, Fail, Script, Wait, next, next_data},
    status,
};

#[test]
fn a_failing_head_is_a_failure_at_once_whatever_the_body() {
    let setup = Setup::new();
    let response = status(StatusCode::BAD_GATEWAY, Script::new([Data("sorry"), Fail]));
    let mut body = setup.respond(response).into_body();
    assert_eq!(setup.counted(), (0, 1));
    assert_eq!(next_data(&mut body), "sorry");
    next(&mut body).unwrap().unwrap_err();
    drop(body);
    assert_eq!(setup.counted(), (0, 1));
}

#[test]
fn a_failing_head_of_a_probe_opens_the_circuit_at_once() {
    let (layer, _) = half_open(OnBodyEnd::new(), &[]);
    let body = respond(&layer, status(StatusCode::BAD_GATEWAY, Script::new([Data("sorry")])));
    assert_eq!(layer.breaker().state(), State::Open);
    drop(body);
    assert_eq!(layer.breaker().state(), State::Open);
}

#[test]
fn an_ignored_head_is_ignored_whatever_the_body() {
    let setup = Setup::with(StatusClassifier::new().ignore(404..=404), OnBodyEnd::new());
    let mut body = setup.respond(status(StatusCode::NOT_FOUND, Script::new([Fail]))).into_body();
    next(&mut body).unwrap().unwrap_err();
    assert_eq!(setup.counted(), (0, 0));
}

#[test]
fn an_error_is_a_failure_and_is_passed_on() {
    let setup = Setup::new();
    let error = call::<Full<Bytes>, _>(&setup.layer, Err(Refused)).unwrap_err();
    assert_eq!(error, Error::Inner(Refused));
    assert_eq!(setup.counted(), (0, 1));
}

/// Classifies every head as given, and every error too.
#[derive(Clone, Copy)]
struct Always(ClassifiedResponse<SuccessAtEos>);

impl<B> ClassifyBody<B, Refused> for Always {
    type Eos = SuccessAtEos;

    fn classify_head(&self, _: &Result<Response<B>, Refused>) -> ClassifiedResponse<SuccessAtEos> {
        self.0
    }
}

/// A classifier may defer to the end of a body although there is none.
#[test]
fn an_error_that_is_deferred_to_the_body_is_a_failed_body() {
    let setup =
        Setup::with(Always(ClassifiedResponse::RequiresEos(SuccessAtEos)), OnBodyEnd::new());
    call::<Full<Bytes>, _>(&setup.layer, Err(Refused)).unwrap_err();
    assert_eq!(setup.counted(), (0, 1));
}

#[test]
fn a_closure_and_the_default_classifier_watch_bodies_too() {
    let closure = |result: &Result<Response<Script>, Refused>| ErrorsAsFailures.classify(result);
    let setup = Setup::with(closure, OnBodyEnd::new());
    next(&mut setup.body(Script::new([Fail]))).unwrap().unwrap_err();
    assert_eq!(setup.counted(), (0, 1));
    let setup = Setup::with(ErrorsAsFailures, OnBodyEnd::new());
    next(&mut setup.body(Script::new([Fail]))).unwrap().unwrap_err();
    assert_eq!(setup.counted(), (0, 1));
}

#[test]
fn a_head_that_is_a_success_needs_no_body() {
    let setup = Setup::with(Always(ClassifiedResponse::Ready(Outcome::Success)), OnBodyEnd::new());
    let mut body = setup.body(Script::new([Fail]));
    assert_eq!(setup.counted(), (1, 0));
    next(&mut body).unwrap().unwrap_err();
    assert_eq!(setup.counted(), (1, 0));
}

/// Records how bodies failed.
#[derive(Clone, Default)]
struct Telling(Arc<Mutex<Vec<BodyFailure>>>);

impl<B> ClassifyBody<B, Refused> for Telling {
    type Eos = Self;

    fn classify_head(&self, _: &Result<Response<B>, Refused>) -> ClassifiedResponse<Self> {
        ClassifiedResponse::RequiresEos(self.clone())
    }
}

impl ClassifyEos for Telling {
    fn classify_eos(self, _: Option<&HeaderMap>) -> Outcome {
        Outcome::Success
    }

    fn classify_failure(self, failure: BodyFailure) -> Outcome {
        self.0.lock().unwrap().push(failure);
        Outcome::failure()
    }
}

#[tokio::test(start_paused = true)]
async fn the_classifier_learns_how_a_body_failed() {
    let telling = Telling::default();
    let settle = OnBodyEnd::new().stall_timeout(Duration::from_secs(1));
    let setup = Setup::with(telling.clone(), settle);
    next(&mut setup.body(Script::new([Fail]))).unwrap().unwrap_err();
    assert!(next(&mut setup.body(Script::new([]).announcing(1))).is_none());
    setup.body(Script::new([Wait(Duration::from_secs(2))])).collect().await.unwrap();
    let expected = [BodyFailure::Error, BodyFailure::EndedEarly, BodyFailure::Stalled];
    assert_eq!(*telling.0.lock().unwrap(), expected);
}

/// Directly nested, without a framework that boxes the body in between.
#[tokio::test]
async fn two_nested_breakers_watch_one_body_and_each_can_reject() {
    let layer = |name| {
        let builder = CircuitBreakerLayer::builder(name).trip_on(Trip::consecutive_failures(1));
        builder.http().on_body_end(OnBodyEnd::new()).build().unwrap()
    };
    let (outer, inner) = (layer("outer"), layer("inner"));
    let fine = service_fn(|(): ()| async {
        Ok::<_, Refused>(Response::new(Full::from(String::from("whole"))))
    });
    let mut service = outer.layer(inner.layer(fine));
    let mut response = service.ready().await.unwrap().call(()).await.unwrap();
    assert_eq!(next_data(response.body_mut()), "whole");

    inner.breaker().force_open();
    let response = service.ready().await.unwrap().call(()).await.unwrap();
    assert_eq!(response.extensions().get::<Rejected>().unwrap().name(), "inner");
    assert_eq!(
        outer.breaker().state(),
        State::Closed,
        "a rejection by the inner breaker is not a failure"
    );
    outer.breaker().force_open();
    let mut response = service.ready().await.unwrap().call(()).await.unwrap();
    assert_eq!(response.extensions().get::<Rejected>().unwrap().name(), "outer");
    assert!(!response.body().is_end_stream());
    let text: bytes::Bytes = next_data(response.body_mut());
    assert!(text.starts_with(b"{\"type\""), "{text:?}");
}
