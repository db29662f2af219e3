//! `.http()` and `.grpc()` on one layer: the last one wins, and keeps what was set by hand.

use std::{convert::Infallible, future::ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxService};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, GrpcCircuitBreaker, HttpCircuitBreaker, OnBodyEnd, State, Trip,
    body::{OnGrpcEnd, ResponseBody, WrapBody},
    classify::GrpcEos,
    record_when::OnResponse,
    reject::{RejectAsGrpcStatus, RejectAsResponse},
};

type Plain = Full<Bytes>;
type Inner = BoxService<Request<()>, Response<Plain>, Infallible>;

/// A breaker that opens at the first failure.
fn touchy() -> Breaker {
    Breaker::builder("presets").trip_on(Trip::consecutive_failures(1)).build().unwrap()
}

fn layer(breaker: &Breaker) -> CircuitBreakerLayer {
    CircuitBreakerLayer::new(breaker.clone())
}

/// What a service answers, and to which kind of request.
#[derive(Debug, Clone, Copy)]
enum Case {
    /// A plain HTTP request, and a 500.
    HttpFailure,
    /// A gRPC request, and the status `UNAVAILABLE` in the headers.
    GrpcFailure,
    /// A gRPC request, and a body that ends without a status.
    GrpcWithoutStatus,
}

use Case::{GrpcFailure, GrpcWithoutStatus, HttpFailure};

impl Case {
    fn request(self) -> Request<()> {
        let media_type = match self {
            HttpFailure => "application/json",
            GrpcFailure | GrpcWithoutStatus => "application/grpc",
        };
        Request::post("/").header("content-type", media_type).body(()).unwrap()
    }

    fn service(self) -> Inner {
        let answer = move || {
            let response = Response::builder();
            let response = match self {
                HttpFailure => response.status(500),
                GrpcFailure => response.header("grpc-status", "14"),
                GrpcWithoutStatus => response.header("content-type", "application/grpc"),
            };
            response.body(Full::from("a body")).unwrap()
        };
        BoxService::new(service_fn(move |_: Request<()>| ready(Ok(answer()))))
    }
}

/// The cases that open the circuit behind the layer that this function makes.
macro_rules! failures {
    (|$breaker:ident| $layer:expr) => {{
        let mut failures = Vec::new();
        for case in [HttpFailure, GrpcFailure, GrpcWithoutStatus] {
            let $breaker = &touchy();
            let service = $layer.layer(case.service());
            let response = service.oneshot(case.request()).await.unwrap();
            response.into_body().collect().await.unwrap();
            if $breaker.state() == State::Open {
                failures.push(format!("{case:?}"));
            }
        }
        failures
    }};
}

const OF_HTTP: [&str; 1] = ["HttpFailure"];
const OF_GRPC: [&str; 2] = ["GrpcFailure", "GrpcWithoutStatus"];

#[tokio::test]
async fn the_last_preset_wins() {
    assert_eq!(failures!(|breaker| layer(breaker).http()), OF_HTTP);
    assert_eq!(failures!(|breaker| layer(breaker).grpc()), OF_GRPC);
    assert_eq!(failures!(|breaker| layer(breaker).grpc().http()), OF_HTTP);
    assert_eq!(failures!(|breaker| layer(breaker).http().grpc()), OF_GRPC);
    assert_eq!(failures!(|breaker| layer(breaker).http().grpc().http()), OF_HTTP);
    assert_eq!(failures!(|breaker| layer(breaker).grpc().http().grpc()), OF_GRPC);
    let end = OnBodyEnd::new();
    assert_eq!(failures!(|breaker| layer(breaker).grpc().on_body_end(end).http()), OF_HTTP);
    assert_eq!(failures!(|breaker| layer(breaker).on_body_end(end).grpc().http()), OF_HTTP);
    assert_eq!(failures!(|breaker| layer(breaker).http().on_body_end(end).grpc()), OF_GRPC);
    assert_eq!(failures!(|breaker| layer(breaker).grpc().http().on_body_end(end)), OF_HTTP);
    let same = |_| Plain::default();
    assert_eq!(failures!(|breaker| layer(breaker).grpc().wrap_body(same).http()), OF_HTTP);
    assert_eq!(failures!(|breaker| layer(breaker).wrap_body(same).grpc()).len(), 1);
}

#[tokio::test]
async fn a_rejection_is_that_of_the_last_preset() {
    let breaker = touchy();
    breaker.force_open();
    let answer = async |service: Result<_, _>| match service {
        Ok(service) => GrpcFailure.ask::<GrpcCircuitBreaker<Inner>>(service).await,
        Err(service) => GrpcFailure.ask::<HttpCircuitBreaker<Inner>>(service).await,
    };
    let grpc = layer(&breaker).http().grpc().layer(GrpcFailure.service());
    assert_eq!(answer(Ok(grpc)).await, 200);
    let http = layer(&breaker).grpc().http().layer(GrpcFailure.service());
    assert_eq!(answer(Err(http)).await, 503);
}

impl Case {
    async fn ask<S>(self, service: S) -> u16
    where
        S: Service<Request<()>, Error = Infallible>,
        S::Response: Status,
    {
        service.oneshot(self.request()).await.unwrap_or_else(|never| match never {}).status()
    }
}

trait Status {
    fn status(&self) -> u16;
}

impl<B> Status for Response<B> {
    fn status(&self) -> u16 {
        Response::status(self).as_u16()
    }
}

type Unwrap = fn(u8);

/// The types say the same.
#[test]
fn what_was_set_by_hand_is_kept() {
    type Http<O> = HttpCircuitBreaker<Inner, RejectAsResponse, O>;
    type Grpc<O> = GrpcCircuitBreaker<Inner, RejectAsGrpcStatus, O>;

    let (breaker, end) = (touchy(), OnBodyEnd::new());
    let inner = || HttpFailure.service();
    let wrap = drop as Unwrap;
    let _: Http<OnResponse> = layer(&breaker).grpc().http().layer(inner());
    let _: Http<OnResponse> = layer(&breaker).grpc().wrap_body(wrap).http().layer(inner());
    let _: Grpc<OnGrpcEnd> = layer(&breaker).http().grpc().layer(inner());
    let _: Http<OnBodyEnd> = layer(&breaker).on_body_end(end).http().layer(inner());
    let _: Grpc<OnGrpcEnd> = layer(&breaker).on_body_end(end).grpc().layer(inner());
    let wrapped = || layer(&breaker).on_body_end(end).wrap_body(wrap);
    let _: Grpc<WrapBody<OnGrpcEnd, Unwrap>> = wrapped().grpc().layer(inner());
    let _: Http<WrapBody<OnBodyEnd, Unwrap>> = wrapped().http().layer(inner());
}

#[tokio::test]
async fn exempt_requests_stay_exempt() {
    fn is_exempt(_: &Request<()>) -> bool {
        true
    }
    let exempt = |breaker: &_| layer(breaker).exempt(is_exempt);
    let none: [&str; 0] = [];
    assert_eq!(failures!(|breaker| exempt(breaker).http()), none);
    assert_eq!(failures!(|breaker| exempt(breaker).grpc()), none);
    assert_eq!(failures!(|breaker| exempt(breaker).grpc().http()), none);
    assert_eq!(failures!(|breaker| exempt(breaker).http().grpc()), none);
    let same = |_: ResponseBody<Plain, GrpcEos>| Plain::default();
    assert_eq!(failures!(|breaker| exempt(breaker).grpc().wrap_body(same).http()), none);
}
