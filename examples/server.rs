//! A server that calls an upstream, behind a circuit breaker that survives restarts:
//! `PORT=3000 UPSTREAM=http://127.0.0.1:4000 STATE_DIR=state cargo run --example server`
//!
//! `curl -i localhost:3000/` calls the upstream, `curl localhost:3000/breaker` shows the breaker.
//! `http://localhost:3000/admin` is the page for operators, who change it with `ADMIN_TOKEN`.
//! Ctrl-C and SIGTERM stop it after it has answered its requests and saved its state.

use std::{env, error::Error, time::Duration};

use axum::{Json, Router, body::Bytes, extract::State, http::StatusCode, routing::get};
use tokio::signal::ctrl_c;
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, SledStore, Trip, admin::Admin, snapshot::Snapshot,
};

async fn call(State((client, url)): State<(reqwest::Client, String)>) -> Result<Bytes, StatusCode> {
    let answer = async { client.get(url).send().await?.error_for_status()?.bytes().await };
    answer.await.map_err(|_: reqwest::Error| StatusCode::BAD_GATEWAY)
}

async fn show(State(breaker): State<Breaker>) -> Json<Snapshot> {
    Json(breaker.snapshot())
}

pub(crate) async fn serve() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let setting = |name, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());

    let layer = CircuitBreakerLayer::builder("upstream")
        .trip_on(Trip::consecutive_failures(5))
        .recovery_timeout(Duration::from_secs(5))
        .store(SledStore::open(setting("STATE_DIR", "state"))?)
        .http()
        .build()?;

    let client = reqwest::Client::builder().no_proxy().build()?;
    let upstream = (client, setting("UPSTREAM", "http://127.0.0.1:4000"));
    let router = Router::new()
        .nest_service("/admin", Admin::new(layer.breaker()).token(setting("ADMIN_TOKEN", "")))
        .route("/breaker", get(show).with_state(layer.breaker().clone()))
        .route("/", get(call).with_state(upstream).layer(layer));
    let port = setting("PORT", "3000").parse()?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, router).with_graceful_shutdown(shutdown_requested()).await?;
    Ok(()) // Dropping the router dropped the breaker's last handle, which saved its state.
}

async fn shutdown_requested() {
    #[cfg(unix)]
    let mut term = signal(SignalKind::terminate()).expect("a signal handler");
    #[cfg(unix)]
    tokio::select! { _ = term.recv() => {}, _ = ctrl_c() => {} }
    #[cfg(not(unix))]
    let _ = ctrl_c().await;
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    serve().await
}
