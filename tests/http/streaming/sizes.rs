//! How much memory a watched response takes, beyond its body.

use std::mem::size_of;

use bytes::Bytes;
use http::Response;
use http_body_util::Empty;
use tower_breaker::{
    OnBodyEnd,
    body::ResponseBody,
    classify::{ClassifyEos, GrpcEos, ServerErrorsAsFailures, SuccessAtEos},
    future::ResponseFuture,
};

type Body = Empty<Bytes>;
type Head = std::future::Ready<Result<Response<Body>, ()>>;

const fn beyond_the_body<W: ClassifyEos>() -> usize {
    size_of::<ResponseBody<Body, W>>() - size_of::<Body>()
}

#[test]
fn a_watched_body_is_at_most_eleven_words_larger() {
    assert!(beyond_the_body::<SuccessAtEos>() <= 88, "{}", beyond_the_body::<SuccessAtEos>());
    let for_trailers = size_of::<GrpcEos>();
    assert!(for_trailers <= 40, "{for_trailers}");
    let larger = beyond_the_body::<GrpcEos>() - for_trailers;
    assert!(larger <= 88, "{larger}");
}

#[test]
fn the_future_of_a_call_is_at_most_eight_words_larger_than_that_of_its_service() {
    type Future<O> = ResponseFuture<Head, ServerErrorsAsFailures, Head, O>;

    let larger =
        size_of::<ResponseFuture<Head, ServerErrorsAsFailures, Head>>() - size_of::<Head>();
    assert!(larger <= 24, "{larger}");
    let larger = size_of::<Future<OnBodyEnd>>() - size_of::<Head>();
    assert!(larger <= 64, "{larger}");
}
