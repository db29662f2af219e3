//! A server and a client of hyper-util, with a circuit breaker around the client. A truncated
//! download is a failure, although its status is 200: `cargo run --example hyper`
//!
//! The program starts everything itself, on a free port, and exits after two seconds.

use std::{
    convert::Infallible,
    error::Error,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use http_body_util::{BodyExt, Collected, Empty};
use hyper::{
    Request, Response,
    body::{Body, Bytes, Frame, Incoming},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::time::{Interval, interval};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_breaker::{
    CircuitBreakerLayer, HttpCircuitBreaker, OnBodyEnd, State, Trip,
    classify::ServerErrorsAsFailures, reject::RejectAsError,
};

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;
type Upstream = Client<HttpConnector, Empty<Bytes>>;
type Downloads = HttpCircuitBreaker<Upstream, RejectAsError, OnBodyEnd>;

/// Whether downloads are truncated.
static BROKEN: AtomicBool = AtomicBool::new(false);

/// A body of four frames, or of two frames and an error.
struct Download {
    frame: u32,
    interval: Interval,
}

impl Download {
    fn start() -> Self {
        Self { frame: 0, interval: interval(Duration::from_millis(20)) }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        ready!(self.interval.poll_tick(cx));
        self.frame += 1;
        Poll::Ready(match self.frame {
            3 if BROKEN.load(Ordering::Relaxed) => Some(Err(io::Error::other("disk failure"))),
            1..=4 => Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 10_000])))),
            _ => None,
        })
    }
}

/// Serves a tower service. A service behind a breaker is served in the same way.
async fn serve() -> Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let downloads = service_fn(async |_: Request<Incoming>| {
        Ok::<_, Infallible>(Response::new(Download::start()))
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(downloads);
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(address)
}

fn client() -> Result<Downloads> {
    let layer = CircuitBreakerLayer::builder("downloads")
        .trip_on(Trip::consecutive_failures(2))
        .recovery_timeout(Duration::from_millis(1500))
        .classify(ServerErrorsAsFailures)
        .on_body_end(OnBodyEnd::new().stall_timeout(Duration::from_secs(10)))
        .build()?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    Ok(ServiceBuilder::new().layer(layer).service(client))
}

/// Returns whether the download is complete.
async fn download(client: &mut Downloads, address: SocketAddr) -> Result<bool> {
    let request = Request::get(format!("http://{address}/")).body(Empty::new())?;
    let complete = match client.ready().await?.call(request).await {
        Ok(response) => {
            let status = response.status();
            let body = response.into_body().collect().await.map(Collected::to_bytes);
            match &body {
                Ok(body) => println!("  {status}, {} bytes", body.len()),
                Err(error) => println!("  {status}, then an error: {error}"),
            }
            body.is_ok()
        }
        Err(error) => {
            println!("  {error}");
            false
        }
    };
    println!("    circuit {}", client.breaker().state());
    Ok(complete)
}

fn expect(what: &str, so: bool) -> Result {
    if so { Ok(()) } else { Err(format!("check failed: {what}").into()) }
}

pub(crate) async fn run() -> Result {
    let address = serve().await?;
    let mut client = client()?;
    println!("A download from http://{address}:");
    expect("the download is complete", download(&mut client, address).await?)?;

    println!("\nDownloads are truncated. Two of them open the circuit:");
    BROKEN.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        expect("the download is truncated", !download(&mut client, address).await?)?;
    }
    expect("the circuit is open", client.breaker().state() == State::Open)?;

    println!("\nThe next one is not sent:");
    expect("it is rejected", !download(&mut client, address).await?)?;

    println!("\nThe server recovers. After the open time, a download is the probe:");
    BROKEN.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(1600)).await;
    expect("the circuit is half-open", client.breaker().state() == State::HalfOpen)?;
    expect("the probe is complete", download(&mut client, address).await?)?;
    expect("the circuit is closed", client.breaker().state() == State::Closed)
}

#[tokio::main]
async fn main() -> Result {
    run().await
}
