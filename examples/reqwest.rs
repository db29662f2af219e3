//! A reqwest client behind a circuit breaker, as a tower service and with a middleware. Both share
//! one breaker: `cargo run --example reqwest`
//!
//! The program starts everything itself, on a free port, and exits after two seconds.

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

/// Whether the upstream is overloaded, and the number of its calls.
static OVERLOADED: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicU32 = AtomicU32::new(0);

/// While it is overloaded, it asks its clients to wait for two seconds.
async fn upstream() -> Result<String> {
    let answer = async || {
        CALLS.fetch_add(1, Ordering::Relaxed);
        if OVERLOADED.load(Ordering::Relaxed) {
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
        // With a backoff, the breaker follows the upstream's Retry-After, up to ten seconds.
        .backoff(Backoff::new(2.0, Duration::from_secs(10)))
        .build()?)
}

fn print(client: &str, answer: &Result<StatusCode>, breaker: &Breaker) {
    let (state, calls) = (breaker.state(), CALLS.load(Ordering::Relaxed));
    let answer = match answer {
        Ok(status) => status.to_string(),
        Err(error) => match Rejected::find(&**error) {
            Some(rejected) => format!("not sent: {rejected}"),
            None => error.to_string(),
        },
    };
    println!("  {client:10}  {answer}\n              circuit {state}, calls to upstream: {calls}");
}

fn expect(what: &str, so: bool) -> Result {
    if so { Ok(()) } else { Err(format!("check failed: {what}").into()) }
}

pub(crate) async fn run() -> Result {
    let (url, breaker) = (upstream().await?, breaker()?);
    let statuses = StatusClassifier::new().throttled(StatusCode::TOO_MANY_REQUESTS);

    // Everything runs on this machine, so proxy settings are ignored.
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
        print("service", &first, &breaker);
        let second = by_middleware().await;
        print("middleware", &second, &breaker);
        [first, second]
    };

    println!("The client as a tower service, and with a middleware:");
    for answer in both().await {
        expect("the upstream answers", answer? == StatusCode::OK)?;
    }

    println!("\nThe upstream is overloaded, and says for how long:");
    OVERLOADED.store(true, Ordering::Relaxed);
    for answer in both().await {
        expect("the upstream answers 503", answer? == StatusCode::SERVICE_UNAVAILABLE)?;
    }
    expect("the circuit is open", breaker.state() == State::Open)?;

    println!("\nNow requests are rejected without being sent, with the time left:");
    for answer in both().await {
        expect(
            "the request is rejected",
            answer.is_err_and(|error| Rejected::find(&*error).is_some()),
        )?;
    }

    println!("\nAfter the two seconds that the upstream requested:");
    OVERLOADED.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    for answer in both().await {
        expect("the probe and the next request succeed", answer? == StatusCode::OK)?;
    }
    expect("the circuit is closed", breaker.state() == State::Closed)
}

#[tokio::main]
async fn main() -> Result {
    run().await
}
