//! A breaker next to other middleware of tonic and tower.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::Response;
use tonic::{
    Code, Status,
    body::Body,
    server::NamedService,
    service::{LayerExt, Routes, interceptor::InterceptorLayer},
    transport::Server,
};
use tower::{Service, ServiceBuilder};
use tower_breaker::{Rejected, State, reject::RejectAsTonicStatus};

use crate::{
    OPEN_TIME,
    client::{Client, UNARY},
    recorded,
    server::{Running, routes},
    touchy, trip, watching,
};

/// One of several services of a server, as `tonic-build` would generate it.
#[derive(Clone)]
struct Script(Routes);

impl NamedService for Script {
    const NAME: &'static str = "test.Script";
}

impl Service<http::Request<Body>> for Script {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = <Routes as Service<http::Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<http::Request<Body>>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.0.call(request)
    }
}

#[tokio::test]
async fn a_layer_on_one_service_does_not_affect_the_others() {
    let layer = touchy().0.grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let server = Running::start(|incoming| {
        let guarded = layer.named_layer(Script(routes()));
        Server::builder().add_service(guarded).serve_with_incoming(incoming)
    })
    .await;
    let client = Client::new(server.channel());
    client.unary(UNARY, "fine").await.unwrap();
    let elsewhere = "/grpc.health.v1.Health/Check";
    let before = client.unary(elsewhere, "").await.unwrap_err();
    trip(&breaker);
    assert_eq!(client.unary(UNARY, "fine").await.unwrap_err().code(), Code::Unavailable);
    let after = client.unary(elsewhere, "").await.unwrap_err();
    assert_eq!([before.code(), after.code()], [Code::Unimplemented; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_below_the_breaker_is_a_failure_and_one_above_cancels_the_call() {
    let limit = Duration::from_secs(1);
    let server = Running::bare().await;
    let layer = watching().grpc().reject_with(RejectAsTonicStatus).build().unwrap();
    let breaker = layer.breaker().clone();
    let above = ServiceBuilder::new().timeout(limit).layer(layer.clone());
    let client = Client::new(above.service(server.channel()));
    client.unary(UNARY, "hang").await.unwrap_err();
    assert_eq!(recorded(&breaker), "");

    let below = ServiceBuilder::new().layer(layer).timeout(limit);
    let client = Client::new(below.service(server.channel()));
    client.unary(UNARY, "hang").await.unwrap_err();
    assert_eq!(recorded(&breaker), "f");
    breaker.force_open();
    let status = client.unary(UNARY, "fine").await.unwrap_err();
    assert!(Rejected::find(&status).is_some());
}

#[tokio::test]
async fn a_status_of_an_interceptor_is_classified_like_any_other() {
    let server = Running::bare().await;
    for (code, expected) in [(Code::Unauthenticated, "."), (Code::Internal, "f")] {
        let layer = watching().grpc().reject_with(RejectAsTonicStatus).build().unwrap();
        let breaker = layer.breaker().clone();
        let refuse = move |_: tonic::Request<()>| Err(Status::new(code, "no"));
        let service = ServiceBuilder::new().layer(layer).layer(InterceptorLayer::new(refuse));
        let client = Client::new(service.service(server.channel()));
        let status = client.unary(UNARY, "fine").await.unwrap_err();
        assert_eq!((status.code(), recorded(&breaker).as_str()), (code, expected));
    }
}

#[tokio::test]
async fn an_interceptor_above_the_breaker_sees_rejected_calls_too() {
    let server = Running::bare().await;
    let layer = touchy().0.grpc().build().unwrap();
    trip(layer.breaker());
    let seen = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&seen);
    let interceptor = InterceptorLayer::new(move |request: tonic::Request<()>| {
        count.fetch_add(1, Relaxed);
        Ok(request)
    });
    let service = ServiceBuilder::new().layer(interceptor).layer(layer);
    let client = Client::new(service.service(server.channel()));
    let status = client.unary(UNARY, "fine").await.unwrap_err();
    assert_eq!((status.code(), seen.load(Relaxed)), (Code::Unavailable, 1));
}

#[tokio::test]
async fn a_caller_can_wait_until_the_circuit_closes() {
    let server = Running::bare().await;
    let (builder, clock) = touchy();
    let layer = builder.grpc().reject_with(RejectAsTonicStatus).backpressure().build().unwrap();
    let breaker = layer.breaker().clone();
    let client = server.client_behind(layer);
    trip(&breaker);
    let waiting = tokio::time::timeout(Duration::from_millis(50), client.unary(UNARY, "fine"));
    waiting.await.expect_err("the circuit is open");
    clock.advance(OPEN_TIME);
    client.unary(UNARY, "fine").await.unwrap();
    assert_eq!(breaker.state(), State::Closed);
}
