//! Timeouts of servers and channels, and deadlines of callers.

use std::{io, time::Duration};

use http::{Request, Response};
use tonic::{Code, body::Body, client::GrpcService, transport::Server};
use tower::ServiceBuilder;
use tower_breaker::{
    CircuitBreakerLayer, KeyedBreakers, KeyedCircuitBreakerLayer, Outcome, State,
    classify::{ClassifiedResponse, Classify, ClassifyBody, GrpcClassifier, MakeClassifier},
};

use crate::{
    client::{Client, Transport, UNARY},
    recorded,
    server::{Running, routes},
    watching,
};

const SHORT: Duration = Duration::from_millis(20);

/// A server with a short timeout. tonic reports it with `CANCELLED`.
async fn impatient() -> Running {
    Running::start(|incoming| {
        Server::builder().timeout(SHORT).add_routes(routes()).serve_with_incoming(incoming)
    })
    .await
}

#[tokio::test]
async fn a_server_timeout_opens_the_circuit_of_the_client() {
    let server = impatient().await;
    let layer = CircuitBreakerLayer::builder("hung").grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let client = server.client_behind(layer);
    for call in 0..30 {
        let status = client.unary(UNARY, "hang").await.unwrap_err();
        let (code, message) =
            if call < 5 { (Code::Cancelled, "Timeout expired") } else { (Code::Unavailable, "") };
        assert_eq!(status.code(), code);
        assert!(status.message().starts_with(message));
    }
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test]
async fn a_channel_timeout_is_a_failure() {
    let server = Running::bare().await;
    let layer = watching().grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let channel = server.endpoint().timeout(SHORT).connect_lazy();
    let client = Client::new(ServiceBuilder::new().layer(layer).service(channel));
    let status = client.unary(UNARY, "hang").await.unwrap_err();
    assert_eq!((status.code(), recorded(&breaker).as_str()), (Code::Cancelled, "f"));
}

#[tokio::test]
async fn a_handler_that_returns_cancelled_is_a_failure_on_the_server() {
    let layer = watching().grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let server = Running::behind(layer).await;
    let status = Client::new(server.channel()).unary(UNARY, "err 1").await.unwrap_err();
    assert_eq!((status.code(), recorded(&breaker).as_str()), (Code::Cancelled, "f"));
}

/// The outcome of a call that hangs, with this `grpc-timeout`.
async fn outcome_of<T>(
    mut channel: T,
    codes: &impl MakeClassifier<Request<Body>, Classifier = GrpcClassifier>,
    timeout: &'static str,
) -> Outcome
where
    T: GrpcService<Body, ResponseBody = Body, Error: 'static>,
{
    let request = Request::post("http://localhost/test.Script/Unary")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", timeout)
        // A message of the text "hang".
        .body(Body::new(http_body_util::Full::new(bytes::Bytes::from_static(
            b"\0\0\0\0\x06\x0a\x04hang",
        ))))
        .unwrap();
    let codes = codes.make_classifier(&request);
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await.ok().unwrap();
    codes.classify(&channel.call(request).await)
}

#[tokio::test]
async fn short_deadlines_of_callers_can_be_ignored() {
    let all = GrpcClassifier::new();
    let ignoring = all.ignore_deadlines_below(Duration::from_millis(100));
    let server = Running::bare().await;
    // The timeout of the channel elapses first.
    assert_eq!(outcome_of(server.channel(), &all, "10m").await, Outcome::failure());
    for (timeout, expected) in [("10m", Outcome::Ignore), ("100m", Outcome::failure())] {
        assert_eq!(outcome_of(server.channel(), &ignoring, timeout).await, expected, "{timeout}");
    }

    // The timeout of the server elapses first, so there is a response.
    let answer = |code: &str| {
        let response = Response::builder().header("grpc-status", code);
        let result: Result<_, tonic::Status> = Ok(response.body(()).unwrap());
        result
    };
    let request = Request::post("/").header("content-type", "application/grpc+proto");
    let request = request.header("grpc-timeout", "10m").body(()).unwrap();
    let codes = ignoring.for_request(&request);
    for (code, expected) in
        [("1", Outcome::Ignore), ("4", Outcome::Ignore), ("14", Outcome::failure())]
    {
        assert_eq!(codes.classify(&answer(code)), expected, "{code}");
        assert_eq!(all.classify(&answer("4")), Outcome::failure());
    }
    // Another error of such a call is a failure.
    let refused: Result<Response<()>, _> = Err(io::Error::other("refused"));
    assert_eq!(codes.classify(&refused), Outcome::failure());
}

/// Makes a call that hangs, with this deadline.
async fn hang<T: Transport + Clone>(client: &Client<T>, deadline: Duration) {
    let mut request = tonic::Request::new("hang".to_owned());
    request.set_timeout(deadline);
    assert_eq!(client.unary_request(UNARY, request).await.unwrap_err().code(), Code::Cancelled);
}

#[tokio::test]
async fn a_layer_ignores_the_short_deadlines_of_callers_by_choice() {
    let server = Running::bare().await;
    let codes = || GrpcClassifier::new().ignore_deadlines_below(Duration::from_secs(1));
    let layer = watching().grpc().classify(codes()).build().unwrap();
    let breaker = layer.breaker().clone();
    let channel = server.endpoint().timeout(5 * SHORT).connect_lazy();
    let client = Client::new(ServiceBuilder::new().layer(layer).service(channel));
    hang(&client, SHORT).await;
    assert_eq!(recorded(&breaker), "");
    // The timeout of the channel elapses.
    hang(&client, Duration::from_secs(60)).await;
    assert_eq!(recorded(&breaker), "f");

    let methods = KeyedBreakers::builder("methods").build().unwrap();
    let layer = KeyedCircuitBreakerLayer::by_grpc_method(methods.clone()).grpc();
    let layer = layer.classify(codes());
    let client = Client::new(ServiceBuilder::new().layer(layer).service(server.channel()));
    for _ in 0..5 {
        hang(&client, SHORT).await;
    }
    assert_eq!(methods.breakers()[0].state(), State::Closed);
}

#[test]
fn a_request_that_is_not_grpc_is_ignored_whatever_its_result() {
    let media_types = [
        None,
        Some("application/json"),
        Some("application/grpc-web"),
        Some("application/grpc-web-text+proto"),
        Some("application/grpcish"),
        Some(""),
    ];
    let results: [fn() -> io::Result<Response<()>>; 3] = [
        || Ok(Response::new(())),
        || Ok(Response::builder().status(503).body(()).unwrap()),
        || Err(io::Error::other("refused")),
    ];
    for media_type in media_types {
        let request = Request::get("/health");
        let request = match media_type {
            Some(media_type) => request.header("content-type", media_type),
            None => request,
        };
        let codes = GrpcClassifier::new().for_request(&request.body(()).unwrap());
        for result in results {
            let head = codes.classify_head(&result());
            assert_eq!(head, ClassifiedResponse::Ready(Outcome::Ignore), "{media_type:?}");
        }
    }
    for media_type in ["application/grpc", "Application/gRPC+json", "application/grpc;a=b"] {
        let request = Request::post("/").header("content-type", media_type).body(()).unwrap();
        assert_eq!(GrpcClassifier::new().for_request(&request), GrpcClassifier::new());
    }
}
