//! What the child processes do.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, body::Bytes, extract::State, http::StatusCode, routing::get};
use tokio::{net::TcpListener, sync::watch};
use tower_breaker::{Breaker, CircuitBreakerLayer, Trip, fleet::RedisFleet, snapshot::Snapshot};

use super::Result;

/// A server whose calls to the upstream go through the breaker of the fleet.
pub(crate) async fn server() -> Result {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let layer = CircuitBreakerLayer::builder("upstream")
        .trip_on(Trip::consecutive_failures(5))
        .recovery_timeout(Duration::from_secs(3))
        .shared(RedisFleet::open(&env::var("REDIS")?)?)
        .http()
        .build()?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let router = Router::new()
        .route("/breaker", get(show).with_state(layer.breaker().clone()))
        .route("/", get(call).with_state((client, env::var("UPSTREAM")?)).layer(layer));
    serve(router).await
}

async fn call(State((client, url)): State<(reqwest::Client, String)>) -> Result<Bytes, StatusCode> {
    let answer = async { client.get(url).send().await?.error_for_status()?.bytes().await };
    answer.await.map_err(|_: reqwest::Error| StatusCode::BAD_GATEWAY)
}

async fn show(State(breaker): State<Breaker>) -> Json<Snapshot> {
    Json(breaker.snapshot())
}

/// What the upstream does with a request.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Healthy,
    Failing,
    /// It answers once it has warmed up.
    Cold,
}

/// An upstream that counts its calls, and fails or delays them on demand.
pub(crate) async fn upstream() -> Result {
    let begins = if env::var_os("COLD").is_some() { Mode::Cold } else { Mode::Healthy };
    let (mode, calls) = (Arc::new(watch::Sender::new(begins)), Arc::new(AtomicU32::new(0)));
    let switch = |to: Mode| {
        let mode = Arc::clone(&mode);
        get(move || async move {
            mode.send_replace(to);
        })
    };
    let count = Arc::clone(&calls);
    let router = Router::new()
        .route("/fail", switch(Mode::Failing))
        .route("/warm", switch(Mode::Healthy))
        .route("/calls", get(move || async move { count.load(Ordering::SeqCst).to_string() }));
    let answer = get(move || async move {
        calls.fetch_add(1, Ordering::SeqCst);
        let mut mode = mode.subscribe();
        match mode.wait_for(|mode| *mode != Mode::Cold).await.as_deref() {
            Ok(Mode::Healthy) => StatusCode::OK,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    });
    serve(router.route("/", answer)).await
}

/// Says its URL to the parent, and serves.
async fn serve(router: Router) -> Result {
    let port = env::var("PORT").as_deref().unwrap_or("0").parse()?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}
