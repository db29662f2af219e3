//! Clients that break off their requests do not open the circuit of the server.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet};
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tower_breaker::{CircuitBreakerLayer, State, Trip, clock::ManualClock};

use crate::{
    OPEN_TIME,
    client::{Client, UNARY},
    server::Running,
    support::wait::{MINUTE, eventually_async},
    touchy, trip,
};

type Body = BoxBody<Bytes, std::io::Error>;

/// A message of 100 bytes, and its first 10.
const PART: &[u8] = b"\0\0\0\0\x64\x0a\x62aaaaaaaa";
/// A whole message.
const WHOLE: &[u8] = b"\0\0\0\0\x03\x0a\x01a";
/// A message with a flag that does not exist.
const WRONG_FLAG: &[u8] = b"\x07\0\0\0\x03\x0a\x01a";
/// A message that is compressed, in a request that does not say how.
const UNKNOWN_COMPRESSION: &[u8] = b"\x01\0\0\0\x03\x0a\x01a";
/// A method whose responses begin before the request has ended.
const BOTH: &str = "/test.Script/Both";

/// How a client breaks off.
#[derive(Debug, Clone, Copy)]
enum End {
    /// It resets the call.
    Reset,
    /// Its connection breaks.
    Disconnect,
    /// It ends the request.
    Clean,
}

/// The tasks of a connection, which end with it.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.0.lock().unwrap().spawn(async move { _ = task.await });
    }
}

async fn connect(url: &str) -> (SendRequest<Body>, Tasks) {
    let tasks = Tasks::default();
    let stream = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    let (sender, connection) = handshake(tasks.clone(), TokioIo::new(stream)).await.unwrap();
    tasks.execute(connection);
    (sender, tasks)
}

/// Sends these bytes of a request, waits until the server has got them, and breaks off.
async fn break_off(server: &Running, path: &str, bytes: &'static [u8], end: End) {
    let url = server.endpoint().uri().to_string();
    let url = url.trim_end_matches('/');
    let (mut sender, connection) = connect(url).await;
    let (frames, receiver) = mpsc::unbounded_channel();
    let body = UnboundedReceiverStream::new(receiver).map(Ok);
    let request = Request::post(format!("{url}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(BodyExt::boxed(StreamBody::new(body)))
        .unwrap();
    let call = tokio::spawn(sender.send_request(request));
    frames.send(Frame::data(Bytes::from_static(bytes))).unwrap();
    // A second call on the connection is answered after the server has read what came before.
    let ping = Request::post(format!("{url}/test.Script/Nothing"))
        .header("content-type", "application/grpc")
        .body(BodyExt::boxed(http_body_util::Empty::new().map_err(|never| match never {})))
        .unwrap();
    sender.send_request(ping).await.unwrap();
    match end {
        End::Reset => call.abort(),
        End::Disconnect => connection.0.lock().unwrap().abort_all(),
        End::Clean => drop(frames),
    }
    _ = call.await;
    if !matches!(end, End::Disconnect) {
        // As above: it has read the end.
        let ping = Request::post(format!("{url}/test.Script/Nothing"))
            .header("content-type", "application/grpc")
            .body(BodyExt::boxed(http_body_util::Empty::new().map_err(|never| match never {})))
            .unwrap();
        sender.send_request(ping).await.unwrap();
    }
}

#[tokio::test]
async fn requests_that_break_off_do_not_open_the_circuit_of_the_server() {
    let cases: [(&[u8], End); 6] = [
        (PART, End::Reset),
        (PART, End::Disconnect),
        (b"", End::Reset),
        (b"", End::Disconnect),
        (b"", End::Clean),
        (WRONG_FLAG, End::Clean),
    ];
    for (bytes, end) in cases {
        for path in [UNARY, "/test.Script/Up", BOTH] {
            if path == BOTH && bytes != WRONG_FLAG {
                // It ends well, or its response has no end.
                continue;
            }
            let place = format!("{path}, {} bytes, {end:?}", bytes.len());
            let clock = ManualClock::new();
            // Under a name of its own, as breakers of one name are counted together.
            let layer = CircuitBreakerLayer::builder(&place)
                .trip_on(Trip::consecutive_failures(1))
                .recovery_timeout(OPEN_TIME)
                .clock(clock.clone())
                .grpc()
                .build()
                .unwrap();
            let breaker = layer.breaker().clone();
            let server = Running::behind(layer).await;
            let ended = || {
                let calls = breaker.metrics().unwrap().calls;
                // The second calls are of a method that there is not: a success.
                calls.total() - calls.success
            };
            for round in 1..=5 {
                let breaking_off = break_off(&server, path, bytes, end);
                tokio::time::timeout(MINUTE, breaking_off).await.expect(&place);
                let is_an_empty_stream = path != UNARY && bytes.is_empty();
                if !is_an_empty_stream {
                    eventually_async(&place, || ended() >= round).await;
                }
                assert_eq!(breaker.state(), State::Closed, "{place}");
            }
            assert_eq!(breaker.metrics().unwrap().calls.failure, 0, "{place}");
            // Nor is one the result of a probe.
            trip(&breaker);
            clock.advance(OPEN_TIME);
            assert_eq!(breaker.state(), State::HalfOpen);
            Client::new(server.channel()).unary(UNARY, "fine").await.unwrap();
            assert_eq!(breaker.state(), State::Closed, "{place}");
        }
    }
}

/// The error of a stream that a handler reads from its own dependency is the same, and counts.
#[tokio::test]
async fn a_failure_of_the_handler_during_an_upload_counts() {
    let (builder, _) = touchy();
    let layer = builder.grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let server = Running::behind(layer).await;
    break_off(&server, "/test.Script/Up", WHOLE, End::Clean).await;
    assert_eq!(breaker.state(), State::Closed);
    Client::new(server.channel()).up(&["a", "err 13"]).await.unwrap_err();
    assert_eq!(breaker.state(), State::Open);
}

/// tonic says the same of a response that its handler gets from a dependency. The documentation of
/// `GrpcClassifier` says so.
#[tokio::test]
async fn a_request_that_does_not_name_its_compression_counts() {
    let (builder, _) = touchy();
    let layer = builder.grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let server = Running::behind(layer).await;
    break_off(&server, UNARY, UNKNOWN_COMPRESSION, End::Clean).await;
    eventually_async("it counts", || breaker.state() == State::Open).await;
}
