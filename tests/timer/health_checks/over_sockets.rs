//! A server that fails and recovers, a client behind a breaker, and a check, in real time.

use std::{convert::Infallible, future::IntoFuture, sync::atomic::AtomicBool};

use axum::{Router, http::StatusCode, routing::get};
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_breaker::{CircuitBreakerLayer, classify::ServerErrorsAsFailures};

use super::*;
use crate::support::wait::eventually_async;

/// What the server has seen.
#[derive(Default)]
struct Seen {
    is_down: AtomicBool,
    failed_requests: AtomicUsize,
    checks: AtomicUsize,
}

impl Seen {
    fn status(&self) -> StatusCode {
        if self.is_down.load(SeqCst) { StatusCode::BAD_GATEWAY } else { StatusCode::OK }
    }
}

#[tokio::test]
async fn only_checks_reach_a_dependency_that_is_down_until_it_has_recovered() {
    let seen = Arc::new(Seen::default());
    let (pay, health) = (Arc::clone(&seen), Arc::clone(&seen));
    let router = Router::new()
        .route(
            "/pay",
            get(move || async move {
                let status = pay.status();
                pay.failed_requests.fetch_add(usize::from(status != StatusCode::OK), SeqCst);
                Ok::<_, Infallible>(status)
            }),
        )
        .route(
            "/health",
            get(move || async move {
                health.checks.fetch_add(1, SeqCst);
                health.status()
            }),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(axum::serve(listener, router).into_future());

    let client = reqwest::Client::builder().no_proxy().timeout(SECOND * 10).build().unwrap();
    let layer = CircuitBreakerLayer::builder("payments")
        .trip_on(Trip::consecutive_failures(3))
        .recovery_timeout(SECOND)
        .classify(ServerErrorsAsFailures)
        .build()
        .unwrap();
    let breaker = layer.breaker().clone();
    let check_url = format!("{url}/health");
    let checks = client.clone();
    let check = HealthCheck::new(move || {
        let request = checks.get(&check_url).send();
        async { request.await?.error_for_status() }
    });
    let _task = check.timeout(SECOND * 10).spawn(&breaker).unwrap();
    let mut service = ServiceBuilder::new().layer(layer).service(client);
    let mut call = async || {
        let pay = format!("{url}/pay").parse().unwrap();
        let request = reqwest::Request::new(reqwest::Method::GET, pay);
        service.ready().await.unwrap().call(request).await.map(|response| response.status())
    };

    assert_eq!(call().await.unwrap(), StatusCode::OK);
    seen.is_down.store(true, SeqCst);
    for _ in 0..3 {
        assert_eq!(call().await.unwrap(), StatusCode::BAD_GATEWAY);
    }
    assert_eq!(breaker.state(), State::Open);

    // Callers go on, at a pace at which one of them would be each probe without a check.
    while seen.checks.load(SeqCst) < 3 {
        let _ = call().await;
        sleep(MILLI * 20).await;
    }
    // Where the machine is too busy for a check to be in time, a caller is the probe.
    let unlucky = seen.failed_requests.load(SeqCst) - 3;
    assert!(unlucky < seen.checks.load(SeqCst), "{unlucky} callers were probes");

    seen.is_down.store(false, SeqCst);
    eventually_async("a check closes the circuit", || breaker.state() == State::Closed).await;
    assert_eq!(call().await.unwrap(), StatusCode::OK);
    server.abort();
}
