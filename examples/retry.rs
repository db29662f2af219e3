//! Retries around a circuit breaker, and how many attempts a failing upstream gets, over real
//! connections: `cargo run --example retry`
//!
//! The upstream is part of this program. The exit code is 1 if anything differs from what is
//! printed.

use std::{
    error::Error,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use axum::{Router, http::StatusCode, routing::get};
use http_body_util::Empty;
use hyper::{Request, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{net::TcpListener, time::sleep};
use tower::{Service, ServiceBuilder, ServiceExt, retry::RetryLayer};
use tower_breaker::{
    CircuitBreakerLayer, RetryPolicy, Trip, classify::ServerErrorsAsFailures,
    reject::RejectAsBoxError,
};

type Result<T = (), E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ncheck failed: {error}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) async fn run() -> Result {
    let upstream = Upstream::start().await?;
    let layer = CircuitBreakerLayer::builder("upstream")
        .trip_on(Trip::consecutive_failures(5))
        .recovery_timeout(Duration::from_secs(4))
        .classify(ServerErrorsAsFailures)
        .reject_with(RejectAsBoxError)
        .build()?;
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::new(RetryPolicy::network().max_attempts(3)))
        .layer(layer)
        .timeout(Duration::from_secs(10))
        .service(Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>());
    let mut ask = async |what: &str| {
        let request = Request::get(&upstream.url).body(Empty::new())?;
        let (before, began) = (upstream.calls.load(SeqCst), Instant::now());
        let answer = match service.ready().await?.call(request).await {
            Ok(response) => response.status().to_string(),
            Err(error) => error.to_string(),
        };
        let seen = upstream.calls.load(SeqCst) - before;
        println!("{what}\n    {answer}");
        println!("    after {:.0?}; attempts: {seen}", began.elapsed());
        Ok::<_, Box<dyn Error + Send + Sync>>((answer, seen))
    };

    upstream.failures.store(2, SeqCst);
    let (answer, seen) = ask("The upstream fails twice, then succeeds:").await?;
    expect("the third attempt succeeds", answer == "200 OK" && seen == 3)?;

    upstream.failures.store(u32::MAX, SeqCst);
    let (answer, seen) = ask("It fails from now on. There are at most three attempts:").await?;
    expect("the last response is returned", answer.starts_with("503") && seen == 3)?;

    let (answer, seen) = ask("The circuit opens at the fifth consecutive failure:").await?;
    expect("the third attempt is rejected", answer.contains("is open") && seen == 2)?;

    let (answer, seen) =
        ask("While it is open, the call is rejected at once and not retried:").await?;
    expect("the upstream gets no call", answer.contains("is open") && seen == 0)?;

    upstream.failures.store(0, SeqCst);
    sleep(Duration::from_millis(4100)).await;
    let (answer, seen) = ask("The upstream has recovered, and the open time is over:").await?;
    expect("the probe succeeds", answer == "200 OK" && seen == 1)
}

/// Fails a given number of times, and counts its calls.
struct Upstream {
    url: String,
    calls: Arc<AtomicU32>,
    failures: Arc<AtomicU32>,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Upstream {
    async fn start() -> Result<Self> {
        let (calls, failures) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (count, left) = (Arc::clone(&calls), Arc::clone(&failures));
        let answer = get(move || async move {
            count.fetch_add(1, SeqCst);
            match left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) {
                Ok(_) => StatusCode::SERVICE_UNAVAILABLE,
                Err(_) => StatusCode::OK,
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let server = axum::serve(listener, Router::new().route("/", answer));
        Ok(Self { url, calls, failures, server: tokio::spawn(server.into_future()) })
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn expect(what: &str, so: bool) -> Result {
    if so { Ok(()) } else { Err(what.into()) }
}
