//! A client as `tonic-build` would generate it.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http_body::Body as HttpBody;
use tokio_stream::Stream;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    client::{Grpc, GrpcService},
};
use tonic_prost::ProstCodec;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The bounds of a generated client on its channel.
pub(crate) trait Transport:
    GrpcService<
        Body,
        Error: Into<BoxError>,
        ResponseBody: HttpBody<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
    >
{
}

impl<T> Transport for T where
    T: GrpcService<
            Body,
            Error: Into<BoxError>,
            ResponseBody: HttpBody<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
        >
{
}

#[derive(Clone)]
pub(crate) struct Client<T> {
    channel: T,
}

impl<T: Transport + Clone> Client<T> {
    pub(crate) fn new(channel: T) -> Self {
        Self { channel }
    }

    async fn ready(&self) -> Result<Grpc<T>, Status> {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
        Ok(grpc)
    }

    /// One request message, one response message.
    pub(crate) async fn unary(&self, path: &'static str, message: &str) -> Result<String, Status> {
        self.unary_request(path, Request::new(message.to_owned())).await
    }

    pub(crate) async fn unary_request(
        &self,
        path: &'static str,
        request: Request<String>,
    ) -> Result<String, Status> {
        let path = PathAndQuery::from_static(path);
        let answer = self.ready().await?.unary(request, path, ProstCodec::default()).await;
        answer.map(Response::into_inner)
    }

    /// One request message, a stream of response messages.
    pub(crate) async fn down(&self, message: &str) -> Result<Streaming<String>, Status> {
        let path = PathAndQuery::from_static("/test.Script/Down");
        let request = Request::new(message.to_owned());
        let mut grpc = self.ready().await?;
        let answer = grpc.server_streaming(request, path, ProstCodec::default());
        answer.await.map(Response::into_inner)
    }

    /// A stream of request messages, one response message.
    pub(crate) async fn up(&self, messages: &[&str]) -> Result<String, Status> {
        let path = PathAndQuery::from_static("/test.Script/Up");
        let messages: Vec<_> = messages.iter().map(|message| (*message).to_owned()).collect();
        let request = Request::new(tokio_stream::iter(messages));
        let mut grpc = self.ready().await?;
        let answer = grpc.client_streaming(request, path, ProstCodec::default());
        answer.await.map(Response::into_inner)
    }

    /// A stream in each direction.
    pub(crate) async fn both(
        &self,
        messages: impl Stream<Item = String> + Send + 'static,
    ) -> Result<Streaming<String>, Status> {
        let path = PathAndQuery::from_static("/test.Script/Both");
        let request = Request::new(messages);
        let answer = self.ready().await?.streaming(request, path, ProstCodec::default()).await;
        answer.map(Response::into_inner)
    }
}

pub(crate) const UNARY: &str = "/test.Script/Unary";

/// All messages of a stream, and its end.
pub(crate) async fn drain(
    stream: Result<Streaming<String>, Status>,
) -> (Vec<String>, Option<Status>) {
    let mut messages = Vec::new();
    let mut stream = match stream {
        Ok(stream) => stream,
        Err(status) => return (messages, Some(status)),
    };
    loop {
        match stream.message().await {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, None),
            Err(status) => return (messages, Some(status)),
        }
    }
}
