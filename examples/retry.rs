//! Retry outside, the circuit breaker inside: what an upstream that fails sees of it, over real
//! connections. `cargo run --example retry`
//!
//! The upstream runs in this program too. It exits with 1 if anything was not as it says.

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
    match story().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nNot so: {error}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) async fn story() -> Result {
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
        println!("    after {:.0?}; attempts that the upstream saw: {seen}", began.elapsed());
        Ok::<_, Box<dyn Error + Send + Sync>>((answer, seen))
    };

    upstream.failures.store(2, SeqCst);
    let (answer, seen) = ask("The upstream fails twice, and then answers:").await?;
    expect("the third attempt succeeds", answer == "200 OK" && seen == 3)?;

    upstream.failures.store(u32::MAX, SeqCst);
    let (answer, seen) = ask("It fails for good now. Three attempts are all there are:").await?;
    expect("its last answer is handed on", answer.starts_with("503") && seen == 3)?;

    let (answer, seen) = ask("The circuit opens at the fifth failure in a row:").await?;
    expect("the third attempt is rejected", answer.contains("is open") && seen == 2)?;

    let (answer, seen) = ask("While it is open, a rejection comes at once, and only once:").await?;
    expect("the upstream sees nothing", answer.contains("is open") && seen == 0)?;

    upstream.failures.store(0, SeqCst);
    sleep(Duration::from_millis(4100)).await;
    let (answer, seen) = ask("The upstream is well again, and the open time is over:").await?;
    expect("the probe succeeds", answer == "200 OK" && seen == 1)
}

/// Fails as often as it was told to, and counts.
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
