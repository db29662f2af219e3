//! Streams of messages in both directions.

use std::fmt::Debug;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, body::Body};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, classify::GrpcClassifier, record_when::OnResponse,
    reject::RejectAsGrpcStatus,
};

use crate::{
    client::{Client, Transport, UNARY, drain},
    recorded,
    server::Running,
    watching,
};

/// Makes streaming calls of every kind, each with one success and one failure.
async fn stream<T: Transport + Clone>(client: &Client<T>, breaker: &Breaker) {
    assert_eq!(client.up(&["a", "b"]).await.unwrap(), "2");
    assert_eq!(recorded(breaker), ".");
    let status = client.up(&["a", "err 13", "b"]).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert_eq!(recorded(breaker), ".f");

    let (messages, end) = drain(client.down("a,b,c").await).await;
    assert_eq!((messages.len(), end.is_none()), (3, true));
    assert_eq!(recorded(breaker), ".f.");
    let (messages, end) = drain(client.down("a,b,err 15,c").await).await;
    assert_eq!((messages.len(), end.unwrap().code()), (2, Code::DataLoss));
    assert_eq!(recorded(breaker), ".f.f");
    let (messages, end) = drain(client.down("").await).await;
    assert_eq!((messages.len(), end.is_none()), (0, true));
    assert_eq!(recorded(breaker), ".f.f.");

    for (last, code) in [("c", None), ("err 2", Some(Code::Unknown))] {
        let before = recorded(breaker);
        let (sender, receiver) = mpsc::channel(1);
        let mut answers = client.both(ReceiverStream::new(receiver)).await.unwrap();
        for message in ["a", "b"] {
            sender.send(message.to_owned()).await.unwrap();
            assert_eq!(answers.message().await.unwrap().unwrap(), message);
            assert_eq!(recorded(breaker), before, "decided before the end");
        }
        sender.send(last.to_owned()).await.unwrap();
        drop(sender);
        let (_, end) = drain(Ok(answers)).await;
        assert_eq!(end.map(|status| status.code()), code);
        let this = if code.is_some() { "f" } else { "." };
        assert_eq!(recorded(breaker), before + this);
    }
}

#[tokio::test]
async fn the_end_of_a_stream_decides_in_a_client() {
    let server = Running::bare().await;
    let layer = watching().grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let client = server.client_behind(layer);
    stream(&client, &breaker).await;
}

#[tokio::test]
async fn the_end_of_a_stream_decides_in_a_server() {
    let layer = watching().grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let server = Running::behind(layer).await;
    stream(&Client::new(server.channel()), &breaker).await;
}

#[tokio::test]
async fn without_waiting_for_the_end_only_a_status_in_the_headers_fails() {
    let server = Running::bare().await;
    let breaker = watching().build().unwrap().breaker().clone();
    let layer: CircuitBreakerLayer<_, _, OnResponse> = CircuitBreakerLayer::new(breaker.clone())
        .classify(GrpcClassifier::new())
        .reject_with(RejectAsGrpcStatus);
    let client = server.client_behind(layer);
    client.unary(UNARY, "err 14").await.unwrap_err();
    assert_eq!(recorded(&breaker), "f");
    let (_, end) = drain(client.down("a,err 14").await).await;
    assert_eq!(end.unwrap().code(), Code::Unavailable);
    assert_eq!(recorded(&breaker), "f.");
}

#[tokio::test]
async fn a_missing_or_invalid_status_and_a_truncated_body_are_failures() {
    let cases = [
        // Without a status: no body, an empty body, a message.
        ("200", "f"),
        ("200 - -", "f"),
        // Not a number, and not a code.
        ("200 banana", "f"),
        ("200 17", "f"),
        ("200 - banana", "f"),
        ("200 - 99", "f"),
        // The stream is reset, with or without a status before.
        ("200 - reset", "f"),
        ("200 0 reset", "f"),
        // In the headers, with something else later.
        ("200 0 -", "."),
        ("200 0 14", "f"),
        ("200 0 0", "."),
        ("200 0", "."),
        // In the trailers.
        ("200 - 0", "."),
        ("200 - 14", "f"),
        ("200 5", "."),
        // Not the response of a gRPC server, and one that is.
        ("503", "f"),
        ("503 5", "f"),
        ("404", "."),
    ];
    let server = Running::bare().await;
    for (script, expected) in cases {
        let layer = watching().grpc().build().unwrap();
        let breaker = layer.breaker().clone();
        let client = ServiceBuilder::new().layer(layer).service(server.channel());
        let read = raw(client, script).await;
        assert_eq!(read.is_none(), script.ends_with("reset"), "{script}");
        assert_eq!(recorded(&breaker), expected, "{script}");
    }
}

/// The length of a response that is read to its end; the request ends when the head is there.
async fn raw<S, B>(service: S, script: &'static str) -> Option<usize>
where
    S: Service<http::Request<Body>, Response = http::Response<B>, Error: Debug>,
    B: http_body::Body,
{
    let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, Status>>(1);
    let request = http::Request::post("/test.Script/Raw")
        .header("content-type", "application/grpc")
        .header("raw", script);
    let body = Body::new(StreamBody::new(ReceiverStream::new(receiver)));
    let response = service.oneshot(request.body(body).unwrap()).await.unwrap();
    drop(sender);
    let body = response.into_body().collect().await.ok()?;
    Some(body.to_bytes().len())
}
