//! A tonic server whose request messages determine its responses.

use std::{future::pending, net::SocketAddr, time::Duration};

use axum::{Router, routing::post};
use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::{Stream, StreamExt, iter};
use tonic::{
    Code, Request, Status, Streaming,
    body::Body,
    server::Grpc,
    service::Routes,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tonic_types::{ErrorDetails, StatusExt};
use tower::{Layer, Service, layer::util::Identity, service_fn};
use tower_breaker::{Breaker, Rejected};

use crate::client::{BoxError, Client, Transport};

/// A server, stopped at the end of the test.
pub(crate) struct Running {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start<F>(run: impl FnOnce(TcpIncoming) -> F) -> Self
    where
        F: Future<Output = Result<(), tonic::transport::Error>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = run(TcpIncoming::from(listener));
        let task = tokio::spawn(async move { serving.await.unwrap() });
        Self { address, task }
    }

    /// A server without a breaker.
    pub(crate) async fn bare() -> Self {
        Self::behind(Identity::new()).await
    }

    /// A server whose routes are in this layer.
    pub(crate) async fn behind<L, B>(layer: L) -> Self
    where
        L: Layer<Routes> + Clone + Send + 'static,
        L::Service: Service<http::Request<Body>, Response = Response<B>> + Clone + Send + 'static,
        <L::Service as Service<http::Request<Body>>>::Error: Into<BoxError> + Send,
        <L::Service as Service<http::Request<Body>>>::Future: Send,
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Self::start(|incoming| {
            Server::builder().layer(layer).add_routes(routes()).serve_with_incoming(incoming)
        })
        .await
    }

    /// A client whose channel to this server is in this layer.
    pub(crate) fn client_behind<L>(&self, layer: L) -> Client<L::Service>
    where
        L: Layer<Channel, Service: Transport + Clone>,
    {
        Client::new(layer.layer(self.channel()))
    }

    pub(crate) fn channel(&self) -> Channel {
        self.endpoint().connect_lazy()
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn routes() -> Routes {
    Routes::from(
        Router::new()
            .route("/test.Script/Unary", post(unary))
            .route("/test.Script/Down", post(down))
            .route("/test.Script/Up", post(up))
            .route("/test.Script/Both", post(both))
            .route("/test.Script/Raw", post(raw)),
    )
}

type Incoming = http::Request<axum::body::Body>;
type Answer<T> = Result<tonic::Response<T>, Status>;

fn codec() -> Grpc<ProstCodec<String, String>> {
    Grpc::new(ProstCodec::default())
}

/// The error that a word stands for, if any: `err 14` is one with that code; `pushback 1500` and
/// `info 1500` are `UNAVAILABLE` with that many milliseconds; `both 1500 7000` has a pushback and a
/// retry info; `rejected` is the rejection by another breaker.
fn obey(word: &str) -> Result<(), Status> {
    let mut words = word.split(' ');
    let order = words.next().unwrap_or_default();
    let mut next = || words.next().unwrap_or_default();
    Err(match order {
        "err" => Status::new(Code::from(next().parse::<i32>().unwrap()), "as requested"),
        "pushback" => pushed_back(Status::unavailable("as requested"), next()),
        "info" => with_info(next()),
        "rejected" => Status::from(rejection()),
        "both" => {
            let pushback = next();
            pushed_back(with_info(next()), pushback)
        }
        _ => return Ok(()),
    })
}

/// What the breaker of another dependency answers.
fn rejection() -> Rejected {
    let breaker = Breaker::builder("further in").build().unwrap();
    breaker.force_open();
    breaker.try_acquire().unwrap_err()
}

fn pushed_back(mut status: Status, value: &str) -> Status {
    status.metadata_mut().insert("grpc-retry-pushback-ms", value.parse().unwrap());
    status
}

fn with_info(milliseconds: &str) -> Status {
    let delay = Duration::from_millis(milliseconds.parse().unwrap());
    let mut details = ErrorDetails::with_debug_info(vec!["main".to_owned()], "no room");
    details.set_retry_info(Some(delay));
    Status::with_error_details(Code::Unavailable, "as requested", details)
}

async fn unary(request: Incoming) -> Response<Body> {
    async fn answer(request: Request<String>) -> Answer<String> {
        let message = request.into_inner();
        if message == "hang" {
            pending::<()>().await;
        }
        obey(&message)?;
        Ok(tonic::Response::new(message))
    }
    codec().unary(service_fn(answer), request).await
}

/// Sends the words, separated by commas, back one by one, and stops at `hang`.
async fn down(request: Incoming) -> Response<Body> {
    async fn answer(
        request: Request<String>,
    ) -> Answer<impl Stream<Item = Result<String, Status>>> {
        let words: Vec<_> = request.into_inner().split_terminator(',').map(String::from).collect();
        Ok(tonic::Response::new(iter(words).then(|word| async {
            if word == "hang" {
                pending::<()>().await;
            }
            obey(&word).map(|()| word)
        })))
    }
    codec().server_streaming(service_fn(answer), request).await
}

/// Counts the messages.
async fn up(request: Incoming) -> Response<Body> {
    async fn answer(request: Request<Streaming<String>>) -> Answer<String> {
        let mut messages = request.into_inner();
        let mut count = 0;
        while let Some(message) = messages.message().await? {
            obey(&message)?;
            count += 1;
        }
        Ok(tonic::Response::new(format!("{count}")))
    }
    codec().client_streaming(service_fn(answer), request).await
}

/// Sends each message back.
async fn both(request: Incoming) -> Response<Body> {
    async fn answer(
        request: Request<Streaming<String>>,
    ) -> Answer<impl Stream<Item = Result<String, Status>>> {
        let messages = request.into_inner();
        Ok(tonic::Response::new(messages.map(|message| {
            let message = message?;
            obey(&message).map(|()| message)
        })))
    }
    codec().streaming(service_fn(answer), request).await
}

/// The text "raw" as a gRPC message.
const MESSAGE: &[u8] = b"\0\0\0\0\x05\x0a\x03raw";

/// A response that tonic's server would not send. The header `raw` of the request has the HTTP
/// status, the `grpc-status` in the headers, and the end of the body, or `-` for each. A `reset`
/// follows the end of the request.
async fn raw(request: Incoming) -> Response<Body> {
    let script = request.headers()["raw"].to_str().unwrap().to_owned();
    let mut words = script.split(' ');
    let mut response = Response::builder().status(words.next().unwrap());
    if let Some(code) = words.next().filter(|code| *code != "-") {
        response = response.header("grpc-status", code);
    }
    let Some(end) = words.next().map(String::from) else {
        return response.body(Body::empty()).unwrap();
    };
    let last = async move {
        if end == "reset" {
            _ = request.into_body().collect().await;
            return Err(Status::internal("reset"));
        }
        let trailers = [("grpc-status".parse().unwrap(), end.parse().unwrap())];
        Ok(Frame::trailers(HeaderMap::from_iter(trailers)))
    };
    let last = (!script.ends_with(" -")).then_some(last);
    let message = Ok(Frame::data(Bytes::from_static(MESSAGE)));
    let frames = iter([message]).chain(iter(last).then(|last| last));
    response.body(Body::new(StreamBody::new(frames))).unwrap()
}
