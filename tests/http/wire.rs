//! Servers and clients for the tests.

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) type HttpClient = Client<HttpConnector, Empty<Bytes>>;

/// A server, stopped at the end of the test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves HTTP/1.1 and HTTP/2.
    pub(crate) fn of(router: Router) -> Self {
        let (listener, address) = listen();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, task }
    }

    /// Sends these bytes on each connection, and closes it.
    pub(crate) fn that_says(answer: &'static [u8]) -> Self {
        let (listener, address) = listen();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { address, task }
    }

    pub(crate) fn task(address: SocketAddr, task: JoinHandle<()>) -> Self {
        Self { address, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn listen() -> (TcpListener, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    // Enough for a thousand concurrent connections.
    let listener = socket.listen(4096).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address that refuses connections. It stays bound, so that no other process gets the port.
pub(crate) fn refusing_address() -> SocketAddr {
    let socket = std::mem::ManuallyDrop::new(TcpSocket::new_v4().unwrap());
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.local_addr().unwrap()
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Version {
    Http1,
    Http2,
}

pub(crate) use Version::{Http1, Http2};

pub(crate) fn client(version: Version) -> HttpClient {
    let http2 = matches!(version, Http2);
    Client::builder(TokioExecutor::new())
        .http2_only(http2)
        .retry_canceled_requests(false)
        .build_http()
}

pub(crate) fn request(method: Method, url: &str) -> Request<Empty<Bytes>> {
    Request::builder().method(method).uri(url).body(Empty::new()).unwrap()
}

/// The head of a response, with its body still to read.
pub(crate) async fn open(version: Version, url: &str) -> Response<Incoming> {
    let answer = client(version).request(request(Method::GET, url));
    timeout(PATIENCE, answer).await.expect("a head in time").unwrap()
}

/// A complete response.
pub(crate) async fn get(version: Version, url: &str) -> Response<Bytes> {
    let (head, body) = open(version, url).await.into_parts();
    let body = timeout(PATIENCE, body.collect()).await.expect("a body in time").unwrap();
    Response::from_parts(head, body.to_bytes())
}
