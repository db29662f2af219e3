use std::{
    future::IntoFuture,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use axum::Router;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpSocket},
};

use super::*;

fn client() -> Client<hyper_util::client::legacy::connect::HttpConnector, Empty<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

fn to(address: SocketAddr, method: Method) -> Request<Empty<Bytes>> {
    let uri = format!("http://{address}/");
    Request::builder().method(method).uri(uri).body(Empty::new()).unwrap()
}

#[tokio::test]
async fn a_request_succeeds_after_two_failures_of_the_server() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let router = Router::new().fallback(move || async move {
        match count.fetch_add(1, SeqCst) {
            0 => (StatusCode::BAD_GATEWAY, "not yet"),
            1 => (StatusCode::SERVICE_UNAVAILABLE, "nor now"),
            _ => (StatusCode::OK, "here"),
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let request = to(listener.local_addr().unwrap(), Method::GET);
    let server = tokio::spawn(axum::serve(listener, router).into_future());
    let breaker = CircuitBreakerLayer::builder("loopback").build().unwrap();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(RetryPolicy::network()))
        .layer(breaker)
        .service(client());
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!((&*body, calls.load(SeqCst)), (&b"here"[..], 3));
    server.abort();
}

/// The number of attempts to connect to a port without a listener.
async fn refused(method: Method) -> usize {
    // Bound but not listening, so that no other process gets the port.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let request = to(socket.local_addr().unwrap(), method);
    let log = Log::default();
    let (client, noted) = (client(), log.clone());
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(RetryPolicy::network()))
        .layer(CircuitBreakerLayer::builder("refused").build().unwrap())
        .map_request(move |request| {
            noted.note();
            request
        })
        .service(client);
    service.oneshot(request).await.unwrap_err();
    log.calls()
}

#[tokio::test]
async fn a_refused_connection_is_recognised_in_hypers_errors() {
    assert_eq!(refused(Method::GET).await, 3);
    assert_eq!(refused(Method::POST).await, 3);
}

#[tokio::test]
async fn a_connection_closed_without_a_response_is_an_error_of_hyper() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let request = to(listener.local_addr().unwrap(), Method::GET);
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 1024];
        tokio::io::AsyncReadExt::read(&mut stream, &mut head).await.unwrap();
        stream.shutdown().await.unwrap();
        drop(stream);
        axum::serve(listener, Router::new().fallback(|| async { "here" })).await
    });
    let policy = RetryPolicy::network()
        .also_errors(|cause| cause.downcast_ref().is_some_and(hyper::Error::is_incomplete_message));
    let service = ServiceBuilder::new().layer(RetryLayer::new(policy)).service(client());
    assert_eq!(service.oneshot(request).await.unwrap().status(), StatusCode::OK);
    server.abort();
}

/// As the table of the module `classify` says.
#[tokio::test]
async fn a_connection_closed_without_a_response_is_returned_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let server = tokio::spawn(async move {
        for _ in 0..100 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            tokio::io::AsyncReadExt::read(&mut stream, &mut head).await.unwrap();
            count.fetch_add(1, SeqCst);
        }
    });
    for policy in [RetryPolicy::network(), RetryPolicy::rate_limited()] {
        let before = seen.load(SeqCst);
        let service = ServiceBuilder::new().layer(RetryLayer::new(policy)).service(client());
        let error = service.oneshot(to(address, Method::GET)).await.unwrap_err();
        assert!(!tower_breaker::retry::is_transient(&error), "{error:?}");
        assert_eq!(seen.load(SeqCst) - before, 1, "{error:?}");
    }
    server.abort();
}

#[tokio::test]
async fn the_retry_example_runs() {
    example::run().await.unwrap();
}
