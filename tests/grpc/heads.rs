//! Headers that decide a call before its body.

use std::{convert::Infallible, future::ready, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_breaker::{Backoff, Breaker, CircuitBreakerLayerBuilder};

use crate::{recorded, touchy, watching};

fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn grpc_request() -> Request<()> {
    Request::builder().header("content-type", "application/grpc").body(()).unwrap()
}

/// Reads a response with these headers, a body of known length, and these trailers to its end.
async fn read(
    builder: CircuitBreakerLayerBuilder,
    headers: &[(&'static str, &'static str)],
    trailers: &[(&'static str, &'static str)],
) -> Breaker {
    let layer = builder.grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let answer = service_fn(|_: Request<()>| {
        let trailers = Some(Ok(map(trailers)));
        let body = Full::new(Bytes::from_static(b"message")).with_trailers(ready(trailers));
        let mut response = Response::new(body.boxed());
        *response.headers_mut() = map(headers);
        ready(Ok::<_, Infallible>(response))
    });
    let response =
        ServiceBuilder::new().layer(layer).service(answer).oneshot(grpc_request()).await.unwrap();
    response.into_body().collect().await.unwrap();
    breaker
}

#[tokio::test]
async fn a_body_of_known_length_ends_with_its_trailers() {
    for (code, expected) in [("0", "."), ("14", "f"), ("5", ".")] {
        let breaker = read(watching(), &[], &[("grpc-status", code)]).await;
        assert_eq!(recorded(&breaker), expected, "{code}");
    }
}

#[tokio::test]
async fn the_grpc_media_type_is_recognised_in_any_case_and_with_any_codec() {
    for (media_type, expected) in [
        ("application/grpc", "."),
        ("application/grpc+proto", "."),
        ("Application/gRPC; charset=utf-8", "."),
        ("application/json", "f"),
        ("", "f"),
    ] {
        let head = [("content-type", media_type)];
        let breaker = read(watching(), &head, &[("grpc-status", "0")]).await;
        assert_eq!(recorded(&breaker), expected, "{media_type}");
    }
}

#[tokio::test]
async fn a_pushback_in_the_trailers_overrides_one_in_the_headers() {
    let cases = [
        (Some("90000"), None, 90),
        (Some("90000"), Some("120000"), 120),
        (Some("90000"), Some("-1"), 60),
        (Some("-1"), None, 60),
        (None, Some("120000"), 120),
    ];
    for (early, late, seconds) in cases {
        let backoff = Backoff::new(2.0, Duration::from_secs(600));
        let pushback = |value| ("grpc-retry-pushback-ms", value);
        let head: Vec<_> = early.map(pushback).into_iter().collect();
        let mut trailers = vec![("grpc-status", "14")];
        trailers.extend(late.map(pushback));
        let breaker = read(touchy().0.backoff(backoff), &head, &trailers).await;
        let left = breaker.try_acquire().unwrap_err().retry_after();
        assert_eq!(left, Some(Duration::from_secs(seconds)), "{early:?}, then {late:?}");
    }
}
