//! The router, with and without a breaker.

use axum::{Router, error_handling::HandleErrorLayer, http::StatusCode, routing::get};
use tower::ServiceBuilder;
use tower_breaker::{CircuitBreakerLayer, Trip, Window};

use crate::Failure;

pub(crate) fn serve(which: &str) -> Result<(), Failure> {
    let router = Router::new().route("/", get(|| async { "Hello, world!" }));
    let router = match which {
        "bare" => router,
        "tower-breaker" => router.layer(
            CircuitBreakerLayer::builder("bench")
                .trip_on(Trip::failure_rate(0.5, Window::calls(100)))
                .http()
                .build()?,
        ),
        "tower-resilience" => router.layer(
            ServiceBuilder::new()
                .layer(HandleErrorLayer::new(|_| async { StatusCode::SERVICE_UNAVAILABLE }))
                .layer(
                    tower_resilience_circuitbreaker::CircuitBreakerLayer::builder()
                        .failure_rate_threshold(0.5)
                        .sliding_window_size(100)
                        .build()?,
                ),
        ),
        other => return Err(format!("unknown server {other:?}").into()),
    };
    run(router)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn run(router: Router) -> Result<(), Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}
