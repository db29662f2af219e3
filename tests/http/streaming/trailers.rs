//! Trailers, and classifiers that read them.

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower_breaker::{
    OnBodyEnd, Outcome,
    classify::{BodyFailure, ClassifiedResponse, ClassifyBody, ClassifyEos},
};

use super::{
    Refused, Setup,
    script::{Data, Fail, Script, Step, next, next_data, trailers},
};

/// Reads the trailer `verdict`. A body without it is a failure; a body that fails is ignored.
#[derive(Clone, Copy)]
struct ByTrailers;

impl<B> ClassifyBody<B, Refused> for ByTrailers {
    type Eos = Self;

    fn classify_head(&self, result: &Result<Response<B>, Refused>) -> ClassifiedResponse<Self> {
        result.as_ref().map_or(ClassifiedResponse::Ready(Outcome::failure()), |_| {
            ClassifiedResponse::RequiresEos(*self)
        })
    }
}

impl ClassifyEos for ByTrailers {
    fn classify_eos(self, trailers: Option<&HeaderMap>) -> Outcome {
        match trailers.and_then(|trailers| trailers.get("verdict")) {
            Some(verdict) if verdict == "well" => Outcome::Success,
            _ => Outcome::failure(),
        }
    }

    fn classify_failure(self, _: BodyFailure) -> Outcome {
        Outcome::Ignore
    }

    fn awaits_trailers(&self) -> bool {
        true
    }
}

fn setup() -> Setup<ByTrailers> {
    Setup::with(ByTrailers, OnBodyEnd::new())
}

#[test]
fn trailers_are_passed_on_unchanged_and_end_the_body() {
    let setup = Setup::new();
    let sent = trailers("checksum", "7");
    let mut body = setup.body(Script::new([Data("whole"), Step::Trailers(sent.clone())]));
    next_data(&mut body);
    assert_eq!(setup.counted(), (0, 0));
    assert_eq!(next(&mut body).unwrap().unwrap().into_trailers().unwrap(), sent);
    assert_eq!(setup.counted(), (1, 0));
}

#[test]
fn trailers_after_too_few_bytes_end_the_body_early() {
    let setup = Setup::new();
    let script = Script::new([Data("half "), Step::Trailers(HeaderMap::new())]).announcing(10);
    let mut body = setup.body(script);
    next_data(&mut body);
    assert!(next(&mut body).unwrap().unwrap().is_trailers());
    assert_eq!(setup.counted(), (0, 1));
}

#[test]
fn a_classifier_can_decide_by_trailers() {
    for (verdict, counted) in [("well", (1, 0)), ("ill", (0, 1))] {
        let setup = setup();
        let last = Step::Trailers(trailers("verdict", verdict));
        let mut body = setup.body(Script::new([Data("whole"), last]));
        next_data(&mut body);
        assert_eq!(setup.counted(), (0, 0));
        assert!(next(&mut body).unwrap().unwrap().is_trailers());
        assert_eq!(setup.counted(), counted, "{verdict}");
    }
}

#[test]
fn the_last_byte_is_not_the_end_if_the_classifier_waits_for_trailers() {
    let setup = setup();
    let trailing = |verdict| {
        let future = std::future::ready(Some(Ok(trailers("verdict", verdict))));
        Full::new(Bytes::from_static(b"whole")).with_trailers(future)
    };
    let mut body = setup.body(trailing("ill"));
    next_data(&mut body);
    assert_eq!(setup.counted(), (0, 0));
    assert!(next(&mut body).unwrap().unwrap().is_trailers());
    assert_eq!(setup.counted(), (0, 1));

    let steps = [Data("whole"), Step::Trailers(trailers("verdict", "well"))];
    let mut body = setup.body(Script::new(steps).announcing(5));
    next_data(&mut body);
    assert_eq!(setup.counted(), (0, 1));
    assert!(next(&mut body).unwrap().unwrap().is_trailers());
    assert_eq!(setup.counted(), (1, 1));
}

#[test]
fn trailers_take_precedence_over_a_wrong_length() {
    let setup = setup();
    let steps = [Data("half "), Step::Trailers(trailers("verdict", "well"))];
    let mut body = setup.body(Script::new(steps).announcing(10));
    next_data(&mut body);
    assert!(next(&mut body).unwrap().unwrap().is_trailers());
    assert_eq!(setup.counted(), (1, 0));
}

#[test]
fn the_classifier_learns_that_trailers_are_missing() {
    let setup = setup();
    let mut body = setup.body(Script::new([Data("whole")]));
    next_data(&mut body);
    assert!(next(&mut body).is_none());
    assert_eq!(setup.counted(), (0, 1));
    let mut body = setup.body(Script::new([Data("whole")]).knowing_its_end());
    next_data(&mut body);
    assert_eq!(setup.counted(), (0, 2));
    // Without a body there are no trailers to wait for.
    assert!(setup.body(Script::new([]).knowing_its_end()).is_end_stream());
    assert_eq!(setup.counted(), (0, 3));
    // A length of zero does not mean that there is no body.
    let mut body = setup.body(Script::new([]).announcing(0));
    assert_eq!(setup.counted(), (0, 3));
    assert!(next(&mut body).is_none());
    assert_eq!(setup.counted(), (0, 4));
}

#[test]
fn the_classifier_decides_the_outcome_of_a_failed_body() {
    let setup = setup();
    let mut body = setup.body(Script::new([Data("half "), Fail]));
    next_data(&mut body);
    next(&mut body).unwrap().unwrap_err();
    let mut body = setup.body(Script::new([Data("half ")]).announcing(10));
    next_data(&mut body);
    assert!(next(&mut body).is_none());
    assert_eq!(setup.counted(), (0, 0));
}
