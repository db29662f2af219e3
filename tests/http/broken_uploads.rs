//! Response bodies that end because the upload broke off, after the head of the response: that is
//! the client's doing, and says nothing about the upstream.

use std::{
    convert::Infallible,
    error::Error,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
};
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, OnBodyEnd, Outcome, Rejected, State, Trip,
    classify::{
        BodyFailure, ClassifiedResponse, ClassifyBody, ClassifyEos, GrpcClassifier,
        ServerErrorsAsFailures, TowerHttp, map, or,
    },
    reject::RejectAsError,
    reqwest_middleware::BreakerMiddleware,
};

use crate::support::wait::eventually_async;

use super::wire::{Http1, Http2, Server, Version};

/// A breaker that opens at the first failure.
fn touchy() -> Breaker {
    Breaker::builder("upstream").trip_on(Trip::consecutive_failures(1)).build().unwrap()
}

/// Sends back what it receives, as it receives it.
fn echo() -> Server {
    Server::of(Router::new().fallback(async |request: Request| request.into_body()))
}

/// Sends what it is given.
fn upload() -> (mpsc::Sender<Result<Frame<Bytes>, io::Error>>, reqwest::Body) {
    let (sender, receiver) = mpsc::channel(1);
    let frames = tokio_stream::wrappers::ReceiverStream::new(receiver);
    (sender, reqwest::Body::wrap(http_body_util::StreamBody::new(frames)))
}

/// Where the breaker of a proxy is.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Around the client for the upstream.
    Client,
    /// Around the routes of the proxy.
    Routes,
}

/// A server that forwards each request to the upstream, through the breaker, while it arrives.
fn proxy(version: Version, upstream: &Server, breaker: &Breaker, place: Place) -> Server {
    let http2 = matches!(version, Http2);
    let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http::<Body>();
    let layer = CircuitBreakerLayer::new(breaker.clone()).http().on_body_end(OnBodyEnd::new());
    let url = upstream.url("/");
    let to_upstream =
        move |request: Request| Request::post(url.as_str()).body(request.into_body()).unwrap();
    Server::of(match place {
        Place::Client => {
            let client = layer.reject_with(RejectAsError).layer(client);
            Router::new().fallback(async move |request: Request| {
                client.oneshot(to_upstream(request)).await.unwrap().map(Body::new)
            })
        }
        Place::Routes => Router::new()
            .fallback(async move |request: Request| {
                client.request(to_upstream(request)).await.unwrap().map(Body::new)
            })
            .layer(layer),
    })
}

#[tokio::test]
async fn a_client_that_breaks_off_its_upload_late_does_not_open_the_circuit() {
    for (version, place) in [
        (Http1, Place::Client),
        (Http2, Place::Client),
        (Http1, Place::Routes),
        (Http2, Place::Routes),
    ] {
        for broken in [&b"not a chunk\r\n"[..], b""] {
            let (upstream, breaker) = (echo(), touchy());
            let proxy = proxy(version, &upstream, &breaker, place);
            for _ in 0..5 {
                let mut stream = TcpStream::connect(proxy.address).await.unwrap();
                let head = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(b"5\r\nhello\r\n").await.unwrap();
                let mut received = Vec::new();
                while !received.windows(5).any(|window| window == b"hello") {
                    assert!(stream.read_buf(&mut received).await.unwrap() > 0);
                }
                stream.write_all(broken).await.unwrap();
                stream.shutdown().await.unwrap();
                let end = stream.read_to_end(&mut received);
                let _ = timeout(Duration::from_secs(10), end).await.expect("the call ends");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(breaker.state(), State::Closed, "{version:?} {place:?} {broken:?}");
            assert_eq!(breaker.stats().consecutive_failures(), 0);
        }
    }
}

#[tokio::test]
async fn a_broken_upload_through_reqwest_or_its_middleware_does_not_count() {
    let upstream = echo();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let on_body_end = OnBodyEnd::new();
    let on_a_layer = touchy();
    let layer = CircuitBreakerLayer::new(on_a_layer.clone())
        .classify(ServerErrorsAsFailures)
        .on_body_end(on_body_end);
    let in_the_middleware = touchy();
    let with_middleware = reqwest_middleware::ClientBuilder::new(client.clone())
        .with(BreakerMiddleware::new(in_the_middleware.clone()).on_body_end(on_body_end))
        .build();
    for by_layer in [true, false] {
        let (sender, body) = upload();
        sender.send(Ok(Frame::data("hello".into()))).await.unwrap();
        let request = client.post(upstream.url("/")).body(body).build();
        let mut response = if by_layer {
            layer.layer(client.clone()).oneshot(request.unwrap()).await.unwrap()
        } else {
            with_middleware.execute(request.unwrap()).await.unwrap()
        };
        assert_eq!(response.chunk().await.unwrap().unwrap(), "hello");
        sender.send(Err(io::Error::other("the file is gone"))).await.unwrap();
        response.chunk().await.unwrap_err();
    }
    assert_eq!((on_a_layer.state(), in_the_middleware.state()), (State::Closed, State::Closed));
}

#[tokio::test]
async fn an_upstream_that_breaks_off_opens_it() {
    let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    for place in [Place::Client, Place::Routes] {
        let (upstream, breaker) = (Server::that_says(answer), touchy());
        let proxy = proxy(Http1, &upstream, &breaker, place);
        let request = super::wire::request(http::Method::GET, &proxy.url("/"));
        let response = super::wire::client(Http1).request(request).await.unwrap();
        response.into_body().collect().await.unwrap_err();
        eventually_async("it counts", || breaker.state() == State::Open).await;
    }
}

/// A body that fails at once.
struct Broken<E>(Option<E>);

impl<E: Unpin> http_body::Body for Broken<E> {
    type Data = Bytes;
    type Error = E;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        Poll::Ready(self.0.take().map(Err))
    }
}

/// The state of a breaker after a body has failed with this error.
async fn after<C, E>(classify: C, error: E) -> State
where
    C: Clone + ClassifyBody<Broken<E>, Infallible>,
    E: Unpin + 'static,
{
    let breaker = touchy();
    let layer =
        CircuitBreakerLayer::new(breaker.clone()).classify(classify).on_body_end(OnBodyEnd::new());
    let body = std::cell::Cell::new(Some(Broken(Some(error))));
    let service = layer.layer(service_fn(|(): ()| {
        std::future::ready(Ok::<_, Infallible>(Response::new(body.take().expect("one call"))))
    }));
    let response = service.oneshot(()).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    breaker.state()
}

fn rejected() -> Rejected {
    let breaker = touchy();
    breaker.force_open();
    breaker.try_acquire().unwrap_err()
}

fn of_the_request() -> reqwest::Error {
    reqwest::Client::new().get("ftp:/no url").build().unwrap_err()
}

#[tokio::test]
async fn errors_of_the_request_and_rejections_are_found_in_the_errors_of_bodies() {
    let classify = ServerErrorsAsFailures;
    assert_eq!(after(classify, of_the_request()).await, State::Closed);
    assert_eq!(after(classify, BoxError::from(of_the_request())).await, State::Closed);
    assert_eq!(after(classify, io::Error::other(of_the_request())).await, State::Closed);
    assert_eq!(after(classify, BoxError::from(rejected())).await, State::Closed);
    let status = tonic::Status::from_error(of_the_request().into());
    assert_eq!(after(GrpcClassifier::new(), status).await, State::Closed);
    let theirs = TowerHttp(tower_http::classify::ServerErrorsAsFailures::new());
    assert_eq!(after(theirs.clone(), of_the_request()).await, State::Closed);

    assert_eq!(after(classify, ()).await, State::Open);
    assert_eq!(after(classify, io::Error::other("down")).await, State::Open);
    assert_eq!(after(classify, BoxError::from("connection error")).await, State::Open);
    let status = tonic::Status::unavailable("down");
    assert_eq!(after(GrpcClassifier::new(), status).await, State::Open);
    assert_eq!(after(theirs, io::Error::other("down")).await, State::Open);
}

/// A user's classifier, which takes one kind of error for a success.
#[derive(Clone)]
struct Picky;

impl<B, E> ClassifyBody<B, E> for Picky {
    type Eos = Self;

    fn classify_head(&self, _: &Result<Response<B>, E>) -> ClassifiedResponse<Self> {
        ClassifiedResponse::RequiresEos(Self)
    }
}

impl ClassifyEos for Picky {
    fn classify_eos(self, _: Option<&HeaderMap>) -> Outcome {
        Outcome::Success
    }

    fn classify_error(self, error: &(dyn Error + 'static)) -> Outcome {
        match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::UnexpectedEof) => Outcome::Success,
            _ => self.classify_failure(BodyFailure::Error),
        }
    }
}

#[tokio::test]
async fn a_classifier_can_look_at_the_error_alone_and_combined() {
    let eof = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let other = || io::Error::other("down");
    assert_eq!(after(Picky, eof()).await, State::Closed);
    assert_eq!(after(Picky, other()).await, State::Open);
    let lenient = map(ServerErrorsAsFailures, |_| Outcome::Ignore);
    assert_eq!(after(or(Picky, lenient), eof()).await, State::Closed);
    assert_eq!(after(or(Picky, lenient), other()).await, State::Open);
    assert_eq!(after(or(Picky, ServerErrorsAsFailures), eof()).await, State::Open);
    assert_eq!(after(or(Picky, ServerErrorsAsFailures), of_the_request()).await, State::Open);
    assert_eq!(after(map(Picky, |_| Outcome::Ignore), other()).await, State::Closed);
}
