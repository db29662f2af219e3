//! An axum server behind a circuit breaker, and what its clients see while the upstream fails and
//! recovers: `cargo run --example axum`
//!
//! The program starts everything itself, on free ports, and exits after four seconds. For a server
//! that keeps running, see `examples/server.rs`.

use std::{
    error::Error,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::RETRY_AFTER},
    routing::get,
};
use reqwest::Client;
use serde_json::{Value, json};
use tower_breaker::{Breaker, CircuitBreakerLayer, Trip};

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

/// The upstream's health, and the number of its calls.
static HEALTHY: AtomicBool = AtomicBool::new(true);
static CALLS: AtomicU32 = AtomicU32::new(0);

/// The server, with a route behind a breaker and a route that shows the breaker.
fn server(upstream: String) -> Result<Router> {
    let layer = CircuitBreakerLayer::builder("prices")
        .trip_on(Trip::consecutive_failures(3))
        .recovery_timeout(Duration::from_secs(3))
        .http()
        .build()?;
    let breaker = layer.breaker().clone();

    let client = client()?;
    let price = async move || match client.get(&upstream).send().await {
        Ok(answer) if answer.status().is_success() => Ok("42"),
        _ => Err(StatusCode::BAD_GATEWAY),
    };
    Ok(Router::new()
        .route("/price", get(price))
        // Routes added after this one are not behind the breaker.
        .route_layer(layer)
        .route("/breaker", get(show))
        .with_state(breaker))
}

/// A client that ignores proxy settings, as everything runs on this machine.
fn client() -> Result<Client> {
    Ok(Client::builder().no_proxy().build()?)
}

async fn show(State(breaker): State<Breaker>) -> Json<Value> {
    let stats = breaker.stats();
    Json(json!({
        "name": breaker.name(),
        "state": breaker.state(),
        "consecutive_failures": stats.consecutive_failures(),
        "consecutive_opens": stats.consecutive_opens(),
    }))
}

fn upstream() -> Router {
    let answer = async || {
        CALLS.fetch_add(1, Ordering::Relaxed);
        if HEALTHY.load(Ordering::Relaxed) {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    Router::new().route("/", get(answer))
}

/// Serves on a free port and returns the address.
async fn serve(router: Router) -> Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(format!("http://{address}"))
}

/// Gets the price, and prints the response.
async fn get_price(server: &str) -> Result<StatusCode> {
    let answer = client()?.get(format!("{server}/price")).send().await?;
    let status = answer.status();
    let wait = match answer.headers().get(RETRY_AFTER) {
        Some(seconds) => format!(", Retry-After: {} s", seconds.to_str()?),
        None => String::new(),
    };
    println!("  GET /price    {status}{wait}");
    Ok(status)
}

async fn get_state(server: &str) -> Result<String> {
    let answer = client()?.get(format!("{server}/breaker")).send().await?.text().await?;
    println!("  GET /breaker  {answer}");
    let breaker: Value = serde_json::from_str(&answer)?;
    Ok(breaker["state"].as_str().unwrap_or_default().to_owned())
}

fn expect(what: &str, so: bool) -> Result {
    if so { Ok(()) } else { Err(format!("check failed: {what}").into()) }
}

pub(crate) async fn run() -> Result {
    let server = serve(server(serve(upstream()).await?)?).await?;
    println!("The upstream is healthy; the server listens at {server}.");
    expect("a healthy upstream answers", get_price(&server).await? == StatusCode::OK)?;

    println!("\nThe upstream fails. Three consecutive failures open the circuit:");
    HEALTHY.store(false, Ordering::Relaxed);
    for _ in 0..3 {
        expect("the server answers 502", get_price(&server).await? == StatusCode::BAD_GATEWAY)?;
    }
    expect("the circuit is open", get_state(&server).await? == "open")?;

    println!("\nNow the breaker answers, and the upstream gets no calls:");
    let calls = CALLS.load(Ordering::Relaxed);
    for _ in 0..3 {
        expect(
            "the server answers 503",
            get_price(&server).await? == StatusCode::SERVICE_UNAVAILABLE,
        )?;
    }
    expect("the upstream got no call", CALLS.load(Ordering::Relaxed) == calls)?;

    println!("\nThe upstream recovers. After the open time, the next request is a probe:");
    HEALTHY.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(3100)).await;
    expect("the circuit is half-open", get_state(&server).await? == "half_open")?;
    expect("the probe succeeds", get_price(&server).await? == StatusCode::OK)?;
    expect("the circuit is closed", get_state(&server).await? == "closed")?;
    println!("\n8 requests made {} calls to the upstream.", CALLS.load(Ordering::Relaxed));
    expect("there were five calls", CALLS.load(Ordering::Relaxed) == 5)
}

#[tokio::main]
async fn main() -> Result {
    run().await
}
