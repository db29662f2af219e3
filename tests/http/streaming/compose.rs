//! Composed classifiers, and those of tower-http, with bodies.

use http::{HeaderMap, Response, StatusCode};
use tower_breaker::{
    OnBodyEnd, Outcome,
    classify::{
        self, BodyFailure, ClassifiedResponse, Classify, ClassifyBody, ClassifyEos,
        ServerErrorsAsFailures, SuccessAtEos, TowerHttp,
    },
};
use tower_http::classify::{GrpcErrorsAsFailures, StatusInRangeAsFailures};

use super::{
    Refused, Setup, call,
    script::{Data, Fail, Script, Step, next, next_data, trailers},
    status,
};

/// Classifies a head, a complete body, and a failed body as given.
#[derive(Clone, Copy)]
struct Scripted {
    head: Option<Outcome>,
    end: Outcome,
    failure: Outcome,
    awaits_trailers: bool,
}

const GOOD: Scripted = Scripted {
    head: None,
    end: Outcome::Success,
    failure: Outcome::Success,
    awaits_trailers: false,
};
const FAILURE: Outcome = Outcome::failure();

impl<B> ClassifyBody<B, Refused> for Scripted {
    type Eos = Self;

    fn classify_head(&self, _: &Result<Response<B>, Refused>) -> ClassifiedResponse<Self> {
        self.head.map_or(ClassifiedResponse::RequiresEos(*self), ClassifiedResponse::Ready)
    }
}

impl ClassifyEos for Scripted {
    fn classify_eos(self, _: Option<&HeaderMap>) -> Outcome {
        self.end
    }

    fn classify_failure(self, _: BodyFailure) -> Outcome {
        self.failure
    }

    fn awaits_trailers(&self) -> bool {
        self.awaits_trailers
    }
}

/// Two classifiers, a body, and the expected counts.
type Case = (Scripted, Scripted, fn() -> Script, super::Counted);

fn read<C>(setup: &Setup<C>, script: Script) -> super::Counted
where
    C: ClassifyBody<Script, Refused> + Clone,
{
    let mut body = setup.body(script);
    while let Some(Ok(_)) = next(&mut body) {}
    setup.counted()
}

#[test]
fn map_changes_the_outcome_of_heads_ends_and_failures() {
    let forgiving = classify::map(ServerErrorsAsFailures, |outcome| match outcome {
        Outcome::Failure { .. } => Outcome::Ignore,
        other => other,
    });
    let setup = Setup::with(forgiving, OnBodyEnd::new());
    drop(setup.respond(status(StatusCode::BAD_GATEWAY, Script::new([Data("sorry")]))));
    assert_eq!(read(&setup, Script::new([Data("half "), Fail])), (0, 0));
    assert_eq!(read(&setup, Script::new([Data("whole")])), (1, 0));

    let strict = classify::map(ServerErrorsAsFailures, |_| FAILURE);
    let setup = Setup::with(strict, OnBodyEnd::new());
    assert_eq!(read(&setup, Script::new([Data("whole")])), (0, 1));
}

#[test]
fn map_waits_for_trailers_if_its_inner_classifier_does() {
    let scripted = Scripted { awaits_trailers: true, ..GOOD };
    let setup = Setup::with(classify::map(scripted, |outcome| outcome), OnBodyEnd::new());
    let mut body = setup.body(Script::new([Data("whole")]).announcing(5));
    next_data(&mut body);
    assert_eq!(setup.counted(), (0, 0));
    assert!(next(&mut body).is_none());
    assert_eq!(setup.counted(), (1, 0));
}

#[test]
fn or_uses_the_second_classifier_if_the_first_says_success_at_the_end() {
    let ends = |end| Scripted { end, ..GOOD };
    let breaks = |failure| Scripted { failure, ..GOOD };
    let good = || Script::new([Data("whole")]);
    let bad = || Script::new([Data("half "), Fail]);
    let cases: [Case; 7] = [
        (GOOD, GOOD, good, (1, 0)),
        (GOOD, ends(FAILURE), good, (0, 1)),
        (ends(FAILURE), GOOD, good, (0, 1)),
        (ends(Outcome::Ignore), ends(FAILURE), good, (0, 0)),
        (breaks(FAILURE), GOOD, bad, (0, 1)),
        (GOOD, breaks(FAILURE), bad, (0, 1)),
        (breaks(Outcome::Ignore), breaks(FAILURE), bad, (0, 0)),
    ];
    for (number, (first, second, script, counted)) in cases.into_iter().enumerate() {
        let setup = Setup::with(classify::or(first, second), OnBodyEnd::new());
        assert_eq!(read(&setup, script()), counted, "{number}");
    }
}

#[test]
fn or_decides_at_the_head_if_one_classifier_does() {
    let by_head = |outcome| Scripted { head: Some(outcome), ..GOOD };
    let cases = [
        (by_head(FAILURE), GOOD, (0, 1)),
        (GOOD, by_head(FAILURE), (0, 1)),
        (by_head(Outcome::Success), by_head(FAILURE), (0, 1)),
        (by_head(Outcome::Success), by_head(Outcome::Success), (1, 0)),
        (by_head(Outcome::Ignore), by_head(FAILURE), (0, 0)),
        (by_head(Outcome::Success), GOOD, (0, 0)),
        (GOOD, by_head(Outcome::Success), (0, 0)),
    ];
    for (number, (first, second, counted)) in cases.into_iter().enumerate() {
        let setup = Setup::with(classify::or(first, second), OnBodyEnd::new());
        drop(setup.body(Script::new([Data("whole")])));
        assert_eq!(setup.counted(), counted, "{number}");
    }
}

/// A classifier that waits for the trailers may decide that the call is ignored, for instance.
#[test]
fn or_waits_for_trailers_if_the_first_classifier_does() {
    let first = Scripted { end: Outcome::Ignore, awaits_trailers: true, ..GOOD };
    let second = Scripted { head: Some(FAILURE), ..GOOD };
    let setup = Setup::with(classify::or(first, second), OnBodyEnd::new());
    assert_eq!(read(&setup, Script::new([Data("whole")]).announcing(5)), (0, 0));
    let first = Scripted { awaits_trailers: true, ..GOOD };
    let setup = Setup::with(classify::or(first, second), OnBodyEnd::new());
    let mut body = setup.body(Script::new([Data("whole")]).announcing(5));
    next_data(&mut body);
    assert_eq!(setup.counted(), (0, 0));
    assert!(next(&mut body).is_none());
    assert_eq!(setup.counted(), (0, 1));
}

#[test]
fn or_with_a_closure_records_a_failing_head_at_once() {
    let flagged = |result: &Result<Response<Script>, Refused>| match result {
        Ok(response) if response.headers().contains_key("x-degraded") => FAILURE,
        _ => Outcome::Success,
    };
    let setup = Setup::with(classify::or(ServerErrorsAsFailures, flagged), OnBodyEnd::new());
    let response = Response::builder().header("x-degraded", "1");
    drop(setup.respond(response.body(Script::new([Data("whole")])).unwrap()));
    assert_eq!(setup.counted(), (0, 1));
    assert_eq!(read(&setup, Script::new([Fail])), (0, 2));
    assert_eq!(read(&setup, Script::new([Data("whole")])), (1, 2));
}

#[test]
fn a_custom_classifier_can_defer_to_the_end_of_the_body() {
    assert_eq!(
        ClassifiedResponse::unless_body_fails(Outcome::Success),
        ClassifiedResponse::RequiresEos(SuccessAtEos)
    );
    assert_eq!(
        ClassifiedResponse::unless_body_fails(Outcome::Ignore),
        ClassifiedResponse::Ready(Outcome::Ignore)
    );
}

#[test]
fn a_tower_http_classifier_decides_what_is_a_failure() {
    let classify = TowerHttp(StatusInRangeAsFailures::new(400..=599));
    let setup = Setup::with(classify, OnBodyEnd::new());
    drop(setup.respond(status(StatusCode::NOT_FOUND, Script::new([Data("none")]))));
    assert_eq!(setup.counted(), (0, 1));
    assert!(call::<Script, _>(&setup.layer, Err(Refused)).is_err());
    assert_eq!(setup.counted(), (0, 2));
    assert_eq!(read(&setup, Script::new([Data("half "), Fail])), (0, 3));
    assert_eq!(read(&setup, Script::new([Data("whole")])), (1, 3));
}

#[test]
fn a_tower_http_classifier_reads_trailers() {
    let setup = Setup::with(TowerHttp(GrpcErrorsAsFailures::new()), OnBodyEnd::new());
    for (code, counted) in [("0", (1, 0)), ("13", (1, 1))] {
        let last = Step::Trailers(trailers("grpc-status", code));
        let mut body = setup.body(Script::new([Data("whole"), last]).announcing(5));
        next_data(&mut body);
        assert!(next(&mut body).unwrap().unwrap().is_trailers());
        assert_eq!(setup.counted(), counted, "{code}");
    }
    let in_headers = Response::builder().header("grpc-status", "13");
    drop(setup.respond(in_headers.body(Script::new([Data("x")])).unwrap()));
    assert_eq!(setup.counted(), (1, 2));
    assert_eq!(read(&setup, Script::new([Data("half "), Fail])), (1, 3));
}

#[test]
fn a_tower_http_classifier_decides_at_the_head_unless_bodies_are_watched() {
    let classify = TowerHttp(GrpcErrorsAsFailures::new());
    let waiting: Result<Response<()>, Refused> = Ok(Response::new(()));
    assert_eq!(classify.classify(&waiting), Outcome::Success);
    let failed = Response::builder().header("grpc-status", "13").body(()).unwrap();
    assert_eq!(classify.classify(&Ok::<_, Refused>(failed)), FAILURE);
    assert_eq!(classify.classify(&Err::<Response<()>, _>(Refused)), FAILURE);
}
