//! A server that asks an upstream, behind a circuit breaker that survives restarts:
//! `PORT=3000 UPSTREAM=http://127.0.0.1:4000 STATE_DIR=state cargo run --example server`
//!
//! `curl -i localhost:3000/` asks the upstream, `curl localhost:3000/breaker` shows the circuit.

use std::{env, error::Error, time::Duration};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use http_body_util::{BodyExt, Empty};
use hyper::{Uri, body::Bytes};
use hyper_util::{
    client::legacy::Client, client::legacy::connect::HttpConnector, rt::TokioExecutor,
};
use tower_breaker::{Breaker, CircuitBreakerLayer, SledStore, Snapshot, Trip};

type Upstream = (Client<HttpConnector, Empty<Bytes>>, Uri);

async fn ask(State((client, uri)): State<Upstream>) -> Result<Bytes, StatusCode> {
    match client.get(uri).await {
        Ok(answer) if answer.status().is_success() => {
            let body = answer.into_body().collect().await;
            Ok(body.map_err(|_| StatusCode::BAD_GATEWAY)?.to_bytes())
        }
        _ => Err(StatusCode::BAD_GATEWAY),
    }
}

async fn show(State(breaker): State<Breaker>) -> Json<Snapshot> {
    Json(breaker.snapshot())
}

pub(crate) async fn serve() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let set = |name, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());

    let layer = CircuitBreakerLayer::builder("upstream")
        .trip_on(Trip::consecutive_failures(5))
        .recovery_timeout(Duration::from_secs(5))
        .store(SledStore::open(set("STATE_DIR", "state"))?)
        .http()
        .build()?;

    let upstream = set("UPSTREAM", "http://127.0.0.1:4000").parse()?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let router = Router::new()
        .route("/breaker", get(show).with_state(layer.breaker().clone()))
        .route("/", get(ask).with_state((client, upstream)).layer(layer));

    let port = set("PORT", "3000").parse()?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    serve().await
}
