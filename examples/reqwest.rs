//! A reqwest client behind a circuit breaker, as a tower service and as a middleware: both share
//! one breaker. `cargo run --example reqwest`
//!
//! It starts everything itself, on a free port, and ends after two seconds.

use std::{
    error::Error,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::get};
use reqwest::{Client, Method, Request};
use tower::{Layer, Service, ServiceExt};
use tower_breaker::{
    Backoff, Breaker, CircuitBreakerLayer, Rejected, State, Trip, classify::StatusClassifier,
    reqwest_middleware::BreakerMiddleware,
};

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

/// Whether the upstream has work to do, and how often it was asked.
static BUSY: AtomicBool = AtomicBool::new(false);
static ASKED: AtomicU32 = AtomicU32::new(0);

/// When it is busy, it asks to be called again in two seconds.
async fn upstream() -> Result<String> {
    let answer = async || {
        ASKED.fetch_add(1, Ordering::Relaxed);
        if BUSY.load(Ordering::Relaxed) {
            (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "2")])
        } else {
            (StatusCode::OK, [("retry-after", "")])
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = Router::new().route("/", get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(format!("http://{address}/"))
}

fn breaker() -> Result<Breaker> {
    Ok(Breaker::builder("shop")
        .trip_on(Trip::consecutive_failures(2))
        .recovery_timeout(Duration::from_millis(100))
        // With a backoff, the upstream's own Retry-After is followed, up to ten seconds.
        .backoff(Backoff::new(2.0, Duration::from_secs(10)))
        .build()?)
}

fn tell(who: &str, answer: &Result<StatusCode>, breaker: &Breaker) {
    let (state, asked) = (breaker.state(), ASKED.load(Ordering::Relaxed));
    let answer = match answer {
        Ok(status) => status.to_string(),
        Err(error) => match Rejected::find(&**error) {
            Some(rejected) => format!("not sent: {rejected}"),
            None => error.to_string(),
        },
    };
    println!("  {who:10}  {answer}\n              circuit {state}, upstream asked {asked} times");
}

fn expect(what: &str, so: bool) -> Result {
    if so { Ok(()) } else { Err(format!("not so: {what}").into()) }
}

pub(crate) async fn story() -> Result {
    let (url, breaker) = (upstream().await?, breaker()?);
    let statuses = StatusClassifier::new().throttled(StatusCode::TOO_MANY_REQUESTS);

    // All of it stays on this machine, whatever proxy is set.
    let client = Client::builder().no_proxy().build()?;
    let layer = CircuitBreakerLayer::new(breaker.clone()).classify(statuses);
    let mut service = layer.layer(client.clone());
    let mut by_service = async || -> Result<StatusCode> {
        let request = Request::new(Method::GET, url.parse()?);
        Ok(service.ready().await?.call(request).await?.status())
    };
    let client = reqwest_middleware::ClientBuilder::new(client)
        .with(BreakerMiddleware::new(breaker.clone()).classify(statuses))
        .build();
    let by_middleware =
        async || -> Result<StatusCode> { Ok(client.get(&url).send().await?.status()) };

    let mut both = async || {
        let first = by_service().await;
        tell("service", &first, &breaker);
        let second = by_middleware().await;
        tell("middleware", &second, &breaker);
        [first, second]
    };

    println!("The client as a tower service, and the client with a middleware:");
    for answer in both().await {
        expect("it is answered", answer? == StatusCode::OK)?;
    }

    println!("\nThe upstream is busy, and says for how long:");
    BUSY.store(true, Ordering::Relaxed);
    for answer in both().await {
        expect("it is refused", answer? == StatusCode::SERVICE_UNAVAILABLE)?;
    }
    expect("the circuit is open", breaker.state() == State::Open)?;

    println!("\nNow neither is sent, and both know how long to wait:");
    for answer in both().await {
        expect("it is rejected", answer.is_err_and(|error| Rejected::find(&*error).is_some()))?;
    }

    println!("\nAfter the two seconds that the upstream asked for:");
    BUSY.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    for answer in both().await {
        expect("the probe succeeds, and the next", answer? == StatusCode::OK)?;
    }
    expect("the circuit is closed", breaker.state() == State::Closed)
}

#[tokio::main]
async fn main() -> Result {
    story().await
}
