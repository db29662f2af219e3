//! An axum server behind a circuit breaker, and what its clients see while the upstream fails and
//! recovers: `cargo run --example axum`
//!
//! It starts everything itself, on free ports, and ends after four seconds. The server that stays
//! is `examples/server.rs`.

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

/// The upstream's health, and how often it was asked.
static HEALTHY: AtomicBool = AtomicBool::new(true);
static ASKED: AtomicU32 = AtomicU32::new(0);

/// The server: one route behind a breaker, and one that shows it.
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
        // Routes that are added after this are not behind the breaker.
        .route_layer(layer)
        .route("/breaker", get(show))
        .with_state(breaker))
}

/// A client that stays on this machine, whatever proxy is set.
fn client() -> Result<Client> {
    Ok(Client::builder().no_proxy().build()?)
}

async fn show(State(breaker): State<Breaker>) -> Json<Value> {
    let stats = breaker.stats();
    Json(json!({
        "name": breaker.name(),
        "state": breaker.state(),
        "failures_in_a_row": stats.consecutive_failures(),
        "openings_in_a_row": stats.consecutive_opens(),
    }))
}

fn upstream() -> Router {
    let answer = async || {
        ASKED.fetch_add(1, Ordering::Relaxed);
        if HEALTHY.load(Ordering::Relaxed) {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    Router::new().route("/", get(answer))
}

/// Serves on a free port, and returns the address.
async fn serve(router: Router) -> Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(format!("http://{address}"))
}

/// Asks for the price, and tells what came back.
async fn ask(server: &str) -> Result<StatusCode> {
    let answer = client()?.get(format!("{server}/price")).send().await?;
    let status = answer.status();
    let wait = match answer.headers().get(RETRY_AFTER) {
        Some(seconds) => format!(", Retry-After: {} s", seconds.to_str()?),
        None => String::new(),
    };
    println!("  GET /price    {status}{wait}");
    Ok(status)
}

async fn look(server: &str) -> Result<String> {
    let answer = client()?.get(format!("{server}/breaker")).send().await?.text().await?;
    println!("  GET /breaker  {answer}");
    let breaker: Value = serde_json::from_str(&answer)?;
    Ok(breaker["state"].as_str().unwrap_or_default().to_owned())
}

fn expect(what: &str, so: bool) -> Result {
    if so { Ok(()) } else { Err(format!("not so: {what}").into()) }
}

pub(crate) async fn story() -> Result {
    let server = serve(server(serve(upstream()).await?)?).await?;
    println!("The upstream is healthy, the server runs at {server}.");
    expect("a healthy upstream answers", ask(&server).await? == StatusCode::OK)?;

    println!("\nThe upstream fails. Three failures in a row open the circuit:");
    HEALTHY.store(false, Ordering::Relaxed);
    for _ in 0..3 {
        expect("it is a bad gateway", ask(&server).await? == StatusCode::BAD_GATEWAY)?;
    }
    expect("the circuit is open", look(&server).await? == "open")?;

    println!("\nFrom now on the breaker answers, and leaves the upstream alone:");
    let asked = ASKED.load(Ordering::Relaxed);
    for _ in 0..3 {
        expect("it is a 503", ask(&server).await? == StatusCode::SERVICE_UNAVAILABLE)?;
    }
    expect("the upstream was not asked", ASKED.load(Ordering::Relaxed) == asked)?;

    println!("\nThe upstream recovers. After the open time the next request is the probe:");
    HEALTHY.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(3100)).await;
    expect("the circuit is half-open", look(&server).await? == "half_open")?;
    expect("the probe succeeds", ask(&server).await? == StatusCode::OK)?;
    expect("the circuit is closed", look(&server).await? == "closed")?;
    println!("\nThe upstream was asked {} times, for 8 requests.", ASKED.load(Ordering::Relaxed));
    expect("that is five times", ASKED.load(Ordering::Relaxed) == 5)
}

#[tokio::main]
async fn main() -> Result {
    story().await
}
