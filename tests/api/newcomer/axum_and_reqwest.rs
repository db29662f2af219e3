//! An axum server that asks an upstream with reqwest. A hung upstream opens the circuit, and then
//! the server answers 503.

use std::time::Duration;

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header::RETRY_AFTER};
use reqwest::{Client, Method, Request, Url};
use tower::{Layer, ServiceExt};
use tower_breaker::{
    BoxError, CircuitBreaker, CircuitBreakerLayer, Error, Trip, classify::ServerErrorsAsFailures,
};

#[derive(Clone)]
struct Upstream {
    client: CircuitBreaker<Client, ServerErrorsAsFailures>,
    url: Url,
}

fn app(url: Url) -> Result<Router, BoxError> {
    let client = Client::builder().no_proxy().timeout(Duration::from_millis(100)).build()?;
    let breaker = CircuitBreakerLayer::builder("upstream")
        .trip_on(Trip::consecutive_failures(2))
        .classify(ServerErrorsAsFailures)
        .build()?;
    let upstream = Upstream { client: breaker.layer(client), url };
    Ok(Router::new().route("/", get(ask)).with_state(upstream))
}

async fn ask(State(upstream): State<Upstream>) -> Response {
    let request = Request::new(Method::GET, upstream.url);
    match upstream.client.oneshot(request).await {
        Ok(response) => {
            (response.status(), response.text().await.unwrap_or_default()).into_response()
        }
        Err(Error::Rejected(rejected)) => rejected.to_response(),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

#[tokio::test]
async fn a_hung_upstream_becomes_a_503() {
    let hung = super::serve(Router::new().route("/", get(std::future::pending::<()>))).await;
    let app = app(format!("http://{hung}/").parse().unwrap()).unwrap();
    let address = super::serve(app).await;
    let caller = Client::builder().no_proxy().build().unwrap();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let response = caller.get(format!("http://{address}/")).send().await.unwrap();
        statuses.push((response.status().as_u16(), response.headers().contains_key(RETRY_AFTER)));
    }
    assert_eq!(statuses, [(502, false), (502, false), (503, true)]);
}
