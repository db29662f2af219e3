//! Rejections that tonic clients receive.

use std::{convert::Infallible, time::Duration};

use axum::{Router, routing::post};
use http::{HeaderMap, Request, Response};
use tokio_stream::StreamExt;
use tonic::{
    Code, Status,
    body::Body,
    server::Grpc,
    service::Routes,
    transport::{Endpoint, Server},
};
use tonic_prost::ProstCodec;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, Outcome, Rejected, State,
    classify::{ClassifiedResponse, ClassifyBody, ClassifyEos, GrpcClassifier},
    clock::ManualClock,
    reject::{RejectAsTonicStatus, RejectWithGrpcMessage},
};

use crate::{
    OPEN_TIME,
    client::{Client, Transport, UNARY, drain},
    server::Running,
    touchy, trip,
};

fn pushback(status: &Status) -> Option<&str> {
    Some(status.metadata().get("grpc-retry-pushback-ms")?.to_str().unwrap())
}

const TOKEN: &str = "tower-breaker-rejection";

const RESTING: &str = "The service is temporarily unavailable.";

/// Makes every kind of call through an open breaker, and through one that is forced open.
async fn rejections<T: Transport + Clone>(
    client: &Client<T>,
    breaker: &Breaker,
    clock: &ManualClock,
) -> Vec<Status> {
    client.unary(UNARY, "fine").await.unwrap();
    trip(breaker);
    clock.advance(Duration::from_micros(100));
    let mut seen = vec![client.unary(UNARY, "fine").await.unwrap_err()];
    seen.push(client.up(&["a"]).await.unwrap_err());
    seen.push(drain(client.down("a").await).await.1.unwrap());
    seen.push(drain(client.both(tokio_stream::iter(["a".to_owned()])).await).await.1.unwrap());
    for status in &seen {
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(pushback(status), Some("60000"), "rounded up");
    }
    clock.advance(Duration::from_millis(59_999));
    let status = client.unary(UNARY, "fine").await.unwrap_err();
    assert_eq!(pushback(&status), Some("1"));
    breaker.force_open();
    let status = client.unary(UNARY, "fine").await.unwrap_err();
    assert_eq!((status.code(), pushback(&status)), (Code::Unavailable, None));
    seen.push(status);
    breaker.reset();
    client.unary(UNARY, "fine").await.unwrap();
    seen
}

fn messages(seen: &[Status]) -> Vec<&str> {
    seen.iter().map(Status::message).collect()
}

#[tokio::test]
async fn a_server_rejects_with_unavailable_and_a_pushback() {
    let (builder, clock) = touchy();
    let layer = builder.grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let server = Running::behind(layer).await;
    let seen = rejections(&Client::new(server.channel()), &breaker, &clock).await;
    let in_a_minute = format!("{RESTING} Try again in 60 s.");
    assert_eq!(messages(&seen[..4]), [in_a_minute.as_str(); 4]);
    assert_eq!(messages(&seen[4..]), [RESTING]);
}

#[tokio::test]
async fn a_client_is_rejected_with_unavailable() {
    let server = Running::bare().await;
    let (builder, clock) = touchy();
    let layer = builder.grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let client = server.client_behind(layer);
    let seen = rejections(&client, &breaker, &clock).await;
    assert!(messages(&seen).iter().all(|message| message.starts_with(RESTING)));
}

#[tokio::test]
async fn a_client_finds_the_rejection_in_the_source_of_the_status() {
    let server = Running::bare().await;
    let (builder, clock) = touchy();
    let layer = builder.grpc().reject_with(RejectAsTonicStatus).build().unwrap();
    let breaker = layer.breaker().clone();
    let client = server.client_behind(layer);
    let seen = rejections(&client, &breaker, &clock).await;
    let states = [[State::Open; 4].as_slice(), &[State::ForcedOpen]].concat();
    assert_eq!(seen.len(), states.len());
    for (status, state) in seen.iter().zip(states) {
        let rejected = Rejected::find(status).expect("a rejection");
        assert_eq!((rejected.name(), rejected.state()), ("touchy", state));
        assert_eq!(status.message(), r#"rejected by circuit breaker "touchy""#);
        assert_eq!(
            std::error::Error::source(status).map(ToString::to_string),
            Some(rejected.to_string())
        );
    }
}

#[tokio::test]
async fn an_error_of_the_channel_is_the_same_as_without_a_breaker() {
    // Bound but not listening, so that no other process gets the port.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let closed = socket.local_addr().unwrap();
    let channel = Endpoint::from_shared(format!("http://{closed}")).unwrap().connect_lazy();
    let bare = Client::new(channel.clone()).unary(UNARY, "fine").await.unwrap_err();
    let (builder, _) = touchy();
    let layer = builder.grpc().reject_with(RejectAsTonicStatus).build().unwrap();
    let breaker = layer.breaker().clone();
    let client = Client::new(ServiceBuilder::new().layer(layer).service(channel));
    let status = client.unary(UNARY, "fine").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!((status.code(), status.message()), (bare.code(), bare.message()));
    assert!(Rejected::find(&status).is_none());
    assert_eq!(breaker.state(), State::Open, "no connection is a failure");
    let status = client.unary(UNARY, "fine").await.unwrap_err();
    assert!(Rejected::find(&status).is_some());
}

#[tokio::test]
async fn a_status_that_the_service_returns_as_its_error_is_passed_on() {
    let (builder, _) = touchy();
    let layer = builder.reject_with(RejectAsTonicStatus).build().unwrap();
    let failing = service_fn(|(): ()| async { Err::<(), _>(Status::data_loss("gone")) });
    let error = ServiceBuilder::new().layer(layer).service(failing).oneshot(()).await.unwrap_err();
    let status =
        error.downcast::<Status>().expect("the status itself, not wrapped in another error");
    assert_eq!((status.code(), status.message()), (Code::DataLoss, "gone"));
}

#[tokio::test]
async fn a_server_can_reject_with_an_error_too() {
    let (builder, clock) = touchy();
    let layer = builder.grpc().reject_with(RejectAsTonicStatus).build().unwrap();
    let breaker = layer.breaker().clone();
    let server = Running::behind(layer).await;
    rejections(&Client::new(server.channel()), &breaker, &clock).await;
}

#[tokio::test]
async fn a_message_of_any_characters_arrives_unchanged() {
    let message = "zu 100 % voll:\r\n\tüber \u{1f4a5} \"größer\"";
    let (builder, _) = touchy();
    let rejection = RejectWithGrpcMessage(move |_: &Rejected| message.to_owned());
    let layer = builder.grpc().reject_with(rejection).build().unwrap();
    layer.breaker().force_open();
    let server = Running::behind(layer).await;
    let status = Client::new(server.channel()).unary(UNARY, "fine").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, message));
}

#[tokio::test]
async fn a_rejection_is_a_trailers_only_response_with_the_rejection_as_an_extension() {
    let (builder, _) = touchy();
    let layer = builder.grpc().build().unwrap();
    trip(layer.breaker());
    let request = Request::builder().header("content-type", "application/grpc").body(()).unwrap();
    let never = service_fn(|_: Request<()>| async {
        let answer: Result<Response<Body>, Infallible> = Ok(Response::new(Body::empty()));
        answer
    });
    let response =
        ServiceBuilder::new().layer(layer).service(never).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let headers = response.headers();
    assert_eq!(headers["content-type"], "application/grpc");
    assert_eq!(headers["grpc-status"], "14");
    assert_eq!(headers["grpc-message"], format!("{RESTING} Try again in 60 s."));
    assert_eq!(headers["grpc-retry-pushback-ms"], "60000");
    assert_eq!(headers[TOKEN].len(), 16);
    assert_eq!(headers.len(), 5);
    let rejected = response.extensions().get::<Rejected>().expect("a rejection");
    assert_eq!(rejected.state(), State::Open);
    assert!(http_body::Body::is_end_stream(response.body()));
}

/// The handler's `?` has turned it into a status.
#[tokio::test]
async fn a_rejection_that_a_handler_passes_on_does_not_count() {
    let (builder, clock) = touchy();
    let layer = builder.grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let server = Running::behind(layer).await;
    let client = Client::new(server.channel());
    let passes_on = async || {
        let statuses = [
            client.unary(UNARY, "rejected").await.unwrap_err(),
            client.up(&["rejected"]).await.unwrap_err(),
        ];
        assert!(statuses.iter().all(|status| status.code() == Code::Unavailable));
    };
    passes_on().await;
    assert_eq!(breaker.state(), State::Closed);
    client.unary(UNARY, "err 14").await.unwrap_err();
    assert_eq!(breaker.state(), State::Open);
    clock.advance(OPEN_TIME);
    passes_on().await;
    assert_eq!(breaker.state(), State::HalfOpen);
}

/// The README's two breakers: of the server, and of the channel to its database. The client of the
/// channel turns the response to a rejected call into a status.
#[tokio::test]
async fn a_rejection_by_the_breaker_of_a_channel_that_a_handler_passes_on_does_not_count() {
    let database = Running::bare().await;
    let (builder, _) = touchy();
    let inner = builder.grpc().build().unwrap();
    let further_in = inner.breaker().clone();
    let client = database.client_behind(inner);
    let (builder, clock) = touchy();
    let outer = builder.grpc().build().unwrap();
    let breaker = outer.breaker().clone();
    let server = Running::start(|incoming| {
        Server::builder().layer(outer).add_routes(forwarding(client)).serve_with_incoming(incoming)
    })
    .await;
    let caller = Client::new(server.channel());
    further_in.force_open();
    for _ in 0..5 {
        let status = caller.unary(UNARY, "fine").await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        // In the trailers, after the first message.
        let (messages, status) = drain(caller.down("fine").await).await;
        assert_eq!((messages.len(), status.unwrap().code()), (1, Code::Unavailable));
        assert_eq!(breaker.state(), State::Closed);
        assert_eq!(breaker.stats().consecutive_failures(), 0);
    }
    // Around a client, without a service.
    let result = breaker.call(caller.unary(UNARY, "fine")).await.unwrap_err();
    assert!(result.rejected().is_none());
    assert_eq!(breaker.state(), State::Closed);
    trip(&breaker);
    clock.advance(OPEN_TIME);
    caller.unary(UNARY, "fine").await.unwrap_err();
    assert_eq!(breaker.state(), State::HalfOpen, "the rejection is no result of the probe");
    further_in.reset();
    caller.unary(UNARY, "err 14").await.unwrap_err();
    assert_eq!(breaker.state(), State::Open, "a failure is one");
}

/// Another process that rejects cannot serve.
#[tokio::test]
async fn a_rejection_by_a_breaker_of_another_process_counts() {
    let (builder, _) = touchy();
    let layer = builder.grpc().build().unwrap();
    let request = Request::builder().header("content-type", "application/grpc").body(()).unwrap();
    let remote = service_fn(|_: Request<()>| async {
        let mut status = Status::unavailable("The service is temporarily unavailable.");
        status.metadata_mut().insert(TOKEN, "0123456789abcdef".parse().unwrap());
        let answer: Result<Response<Body>, Infallible> = Ok(status.into_http());
        answer
    });
    let service = ServiceBuilder::new().layer(layer.clone()).service(remote);
    service.oneshot(request).await.unwrap();
    assert_eq!(layer.breaker().state(), State::Open);
}

/// A handler that gets a rejection, and then answers, may pass on the metadata.
#[test]
fn the_metadata_of_a_rejection_changes_no_success() {
    let (builder, _) = touchy();
    let layer = builder.build().unwrap();
    layer.breaker().force_open();
    let status = Status::from(layer.breaker().try_acquire().unwrap_err());
    let token = status.metadata().get(TOKEN).unwrap().to_str().unwrap();
    let codes = [
        (0, Outcome::Success),
        (5, Outcome::Success),
        (14, Outcome::Ignore),
        (13, Outcome::Ignore),
    ];
    for (code, expected) in codes {
        let response = Response::new(());
        let head = GrpcClassifier::new().classify_head(&Ok::<_, Infallible>(response));
        let ClassifiedResponse::RequiresEos(eos) = head else { panic!("{head:?}") };
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", code.into());
        trailers.insert(TOKEN, token.parse().unwrap());
        assert_eq!(eos.classify_eos(Some(&trailers)), expected, "{code}");
    }
}

/// Forwards calls to this client.
fn forwarding<T>(client: Client<T>) -> Routes
where
    T: Transport<Future: Send> + Clone + Send + Sync + 'static,
{
    let streaming = client.clone();
    let unary = move |request: http::Request<axum::body::Body>| {
        let client = client.clone();
        let answer = service_fn(move |request: tonic::Request<String>| {
            let client = client.clone();
            async move {
                let message = request.into_inner();
                client.unary(UNARY, &message).await.map(tonic::Response::new)
            }
        });
        let codec = ProstCodec::<String, String>::default();
        async move { Grpc::new(codec).unary(answer, request).await }
    };
    let down = move |request: http::Request<axum::body::Body>| {
        let client = streaming.clone();
        let answer = service_fn(move |request: tonic::Request<String>| {
            let client = client.clone();
            async move {
                let message = request.into_inner();
                let messages = tokio_stream::iter([None, Some(message)]).then(move |message| {
                    let client = client.clone();
                    async move {
                        match message {
                            None => Ok("first".to_owned()),
                            Some(message) => client.unary(UNARY, &message).await,
                        }
                    }
                });
                Ok::<_, Status>(tonic::Response::new(messages))
            }
        });
        let codec = ProstCodec::<String, String>::default();
        async move { Grpc::new(codec).server_streaming(answer, request).await }
    };
    Routes::from(Router::new().route(UNARY, post(unary)).route("/test.Script/Down", post(down)))
}
