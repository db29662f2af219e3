//! The ways in which a body ends.

use std::panic::{AssertUnwindSafe, catch_unwind};

use http::{HeaderMap, Response, header::CONTENT_LENGTH};
use http_body::Body;
use http_body_util::{Empty, Full};
use tower_breaker::{
    CircuitBreakerLayer, OnBodyEnd, Outcome, State,
    classify::{BodyFailure, ClassifiedResponse, ClassifyBody, ClassifyEos},
    clock::ManualClock,
};

use super::{
    OPEN_TIME, Refused, Setup, Watched, half_open, respond,
    script::{Broken, Data, Fail, Script, next, next_data},
};

type Bytes = bytes::Bytes;

#[test]
fn a_body_is_a_success_when_it_ends() {
    let setup = Setup::new();
    let mut body = setup.body(Script::new([Data("half "), Data("whole")]));
    assert_eq!(next_data(&mut body), "half ");
    assert_eq!(next_data(&mut body), "whole");
    assert_eq!(setup.counted(), (0, 0));
    assert!(next(&mut body).is_none());
    assert_eq!(setup.counted(), (1, 0));
    assert!(next(&mut body).is_none());
    drop(body);
    assert_eq!(setup.counted(), (1, 0));
}

#[test]
fn a_body_with_an_error_is_a_failure_and_passes_the_error_on() {
    let setup = Setup::new();
    let mut body = setup.body(Script::new([Data("half "), Fail]));
    next_data(&mut body);
    assert_eq!(setup.counted(), (0, 0));
    assert_eq!(next(&mut body).unwrap().unwrap_err(), Broken);
    assert_eq!(setup.counted(), (0, 1));
    assert!(next(&mut body).is_none());
    assert_eq!(setup.counted(), (0, 1));
}

#[test]
fn a_body_that_is_shorter_than_its_size_hint_is_a_failure() {
    let setup = Setup::new();
    let mut body = setup.body(Script::new([Data("half ")]).announcing(10));
    next_data(&mut body);
    assert_eq!(setup.counted(), (0, 0));
    assert!(next(&mut body).is_none());
    assert_eq!(setup.counted(), (0, 1));

    let mut body = setup.body(Script::new([Data("half ")]).announcing(10).knowing_its_end());
    next_data(&mut body);
    assert_eq!(setup.counted(), (0, 2));
}

#[test]
fn a_stream_that_is_shorter_than_its_content_length_is_a_failure() {
    let setup = Setup::new();
    let head = || Response::builder().header(CONTENT_LENGTH, 10);
    let mut body = setup.respond(head().body(Script::new([Data("half ")])).unwrap()).into_body();
    next_data(&mut body);
    assert!(next(&mut body).is_none());
    assert_eq!(setup.counted(), (0, 1));

    // A response to a HEAD request looks like this.
    let mut body = setup.respond(head().body(Script::new([])).unwrap()).into_body();
    assert!(next(&mut body).is_none());
    assert_eq!(setup.counted(), (1, 1));
}

/// A server that knows the length from the head does not poll after the last byte.
#[test]
fn a_stream_that_is_dropped_after_its_content_length_is_a_success() {
    let setup = Setup::new();
    for script in [vec![Data("half "), Data("whole")], vec![Data("half "), Data("whole and more")]]
    {
        let response = Response::builder().header(CONTENT_LENGTH, 10).body(Script::new(script));
        let mut body = setup.respond(response.unwrap()).into_body();
        next_data(&mut body);
        let before = setup.counted();
        next_data(&mut body);
        assert_eq!(setup.counted(), (before.0 + 1, 0));
    }
}

#[test]
fn an_invalid_content_length_is_ignored() {
    let setup = Setup::new();
    for length in ["ten", "", "-1", "10, 10", "99999999999999999999999"] {
        let response = Response::builder().header(CONTENT_LENGTH, length);
        let mut body =
            setup.respond(response.body(Script::new([Data("half ")])).unwrap()).into_body();
        next_data(&mut body);
        let before = setup.counted();
        assert!(next(&mut body).is_none());
        assert_eq!(setup.counted(), (before.0 + 1, 0), "{length}");
    }
}

#[test]
fn a_body_whose_bytes_are_all_read_is_a_success_even_if_it_is_not_polled_again() {
    let setup = Setup::new();
    let mut body = setup.body(Full::new(Bytes::from_static(b"whole")));
    assert_eq!(setup.counted(), (0, 0));
    next_data(&mut body);
    assert_eq!(setup.counted(), (1, 0));

    let mut body = setup.body(Script::new([Data("half "), Data("whole"), Fail]).announcing(10));
    next_data(&mut body);
    assert_eq!(setup.counted(), (1, 0));
    next_data(&mut body);
    assert_eq!(setup.counted(), (2, 0));
    // The error comes after the success was recorded, and changes nothing.
    assert_eq!(next(&mut body).unwrap().unwrap_err(), Broken);
    assert_eq!(setup.counted(), (2, 0));
}

/// hyper reads like this: after each frame, it checks whether the body has ended.
#[test]
fn a_body_that_reports_its_end_with_the_last_frame_is_a_success() {
    let setup = Setup::new();
    let mut body = setup.body(Script::new([Data("half "), Data("whole")]).knowing_its_end());
    next_data(&mut body);
    assert!(!body.is_end_stream());
    assert_eq!(setup.counted(), (0, 0));
    next_data(&mut body);
    assert!(body.is_end_stream());
    assert_eq!(setup.counted(), (1, 0));
    drop(body);
    assert_eq!(setup.counted(), (1, 0));
}

#[test]
fn an_empty_body_is_a_success_at_once() {
    let setup = Setup::new();
    drop(setup.body(Empty::<Bytes>::new()));
    assert_eq!(setup.counted(), (1, 0));
    drop(setup.body(Full::new(Bytes::new())));
    assert_eq!(setup.counted(), (2, 0));
    // The length is 0, although the body does not report its end.
    drop(setup.body(Script::new([]).announcing(0)));
    assert_eq!(setup.counted(), (3, 0));
    let nothing = Response::builder().header(CONTENT_LENGTH, 0).body(Script::new([])).unwrap();
    drop(setup.respond(nothing));
    assert_eq!(setup.counted(), (4, 0));
}

#[test]
fn a_body_that_is_dropped_before_its_end_is_cancelled() {
    let setup = Setup::new();
    drop(setup.body(Script::new([Data("half ")])));
    let mut body = setup.body(Script::new([Data("half "), Data("whole")]));
    next_data(&mut body);
    drop(body);
    let body = setup.body(Script::new([Data("half ")]));
    assert_eq!(body.get_ref().size_hint().exact(), None);
    drop(body.into_inner());
    assert_eq!(setup.counted(), (0, 0));
}

/// A classifier that works for heads and panics at each end of a body.
#[derive(Clone)]
struct PanicsAtTheEnd;

impl ClassifyBody<Script, Refused> for PanicsAtTheEnd {
    type Eos = Self;

    fn classify_head(
        &self,
        _: &Result<Response<Script>, Refused>,
    ) -> ClassifiedResponse<Self::Eos> {
        ClassifiedResponse::RequiresEos(Self)
    }
}

impl ClassifyEos for PanicsAtTheEnd {
    fn classify_eos(self, _: Option<&HeaderMap>) -> Outcome {
        panic!("at the end")
    }

    fn classify_failure(self, _: BodyFailure) -> Outcome {
        panic!("at the failure")
    }
}

/// The bodies: empty, one with data, a broken one, and one that is too short.
fn bodies() -> [Script; 4] {
    [
        Script::new([]).announcing(0),
        Script::new([Data("whole")]),
        Script::new([Data("half "), Fail]),
        Script::new([Data("half ")]).announcing(10),
    ]
}

fn read_to_the_panic<C>(respond: impl FnOnce() -> Watched<Script, C>)
where
    C: ClassifyBody<Script, Refused>,
{
    let read = AssertUnwindSafe(|| {
        let mut body = respond();
        while next(&mut body).is_some_and(|frame| frame.is_ok()) {}
    });
    catch_unwind(read).unwrap_err();
}

#[test]
fn a_classifier_that_panics_at_the_end_of_a_body_is_one_failure() {
    let setup = Setup::with(PanicsAtTheEnd, OnBodyEnd::new());
    for (failures, body) in (1..).zip(bodies()) {
        read_to_the_panic::<PanicsAtTheEnd>(|| setup.body(body));
        assert_eq!(setup.counted(), (0, failures));
    }
}

#[test]
fn a_probe_whose_classifier_panics_at_the_end_of_its_body_reopens_the_circuit() {
    for body in bodies() {
        let clock = ManualClock::new();
        let layer = CircuitBreakerLayer::builder("probes")
            .clock(clock.clone())
            .classify(PanicsAtTheEnd)
            .on_body_end(OnBodyEnd::new())
            .build()
            .unwrap();
        layer.breaker().trip();
        clock.advance(OPEN_TIME);
        read_to_the_panic::<PanicsAtTheEnd>(|| respond(&layer, Response::new(body)).into_body());
        assert_eq!(layer.breaker().state(), State::Open);
    }
}

#[test]
fn a_probe_holds_its_slot_until_its_body_ends_and_then_closes_the_circuit() {
    let (layer, _) = half_open(OnBodyEnd::new(), &[]);
    let mut body = respond(&layer, Response::new(Script::new([Data("half ")]))).into_body();
    next_data(&mut body);
    assert_eq!(layer.breaker().state(), State::HalfOpen);
    layer.breaker().try_acquire().unwrap_err();
    assert!(next(&mut body).is_none());
    assert_eq!(layer.breaker().state(), State::Closed);
}

#[test]
fn a_probe_whose_body_fails_reopens_the_circuit() {
    let (layer, _) = half_open(OnBodyEnd::new(), &[]);
    let mut body = respond(&layer, Response::new(Script::new([Fail]))).into_body();
    next(&mut body).unwrap().unwrap_err();
    assert_eq!(layer.breaker().state(), State::Open);
}

#[test]
fn a_probe_whose_body_is_dropped_releases_its_slot() {
    let (layer, _) = half_open(OnBodyEnd::new(), &[]);
    for frames in 0..2 {
        let script = Script::new([Data("half "), Data("whole")]);
        let mut body = respond(&layer, Response::new(script)).into_body();
        for _ in 0..frames {
            next_data(&mut body);
        }
        layer.breaker().try_acquire().unwrap_err();
        drop(body);
        assert_eq!(layer.breaker().state(), State::HalfOpen);
    }
    let body = respond(&layer, Response::new(Script::new([Data("half ")]))).into_body();
    drop(body.into_inner());
    layer.breaker().try_acquire().unwrap().success();
    assert_eq!(layer.breaker().state(), State::Closed);
}
