//! A client of three hosts, of which one is down.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, http::StatusCode, routing::get};
use tower::{Layer, Service, ServiceExt};
use tower_breaker::{
    KeyedBreakers, KeyedCircuitBreakerLayer, State, classify::ServerErrorsAsFailures,
};

async fn serve(status: StatusCode) -> (SocketAddr, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let answer = move || {
        counter.fetch_add(1, Ordering::SeqCst);
        async move { status }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(answer))).await });
    (address, calls)
}

#[tokio::test]
async fn one_bad_host_of_three_does_not_shut_out_the_others() {
    let (bad, bad_calls) = serve(StatusCode::INTERNAL_SERVER_ERROR).await;
    let good = [serve(StatusCode::OK).await, serve(StatusCode::OK).await];
    let hosts = KeyedBreakers::builder("client").build().unwrap();
    let layer = KeyedCircuitBreakerLayer::by_host(hosts.clone()).classify(ServerErrorsAsFailures);
    let mut client = layer.layer(reqwest::Client::builder().no_proxy().build().unwrap());
    let mut rejected = 0;
    for _ in 0..40 {
        for address in [bad, good[0].0, good[1].0] {
            let url = format!("http://{address}/").parse().unwrap();
            let request = reqwest::Request::new(reqwest::Method::GET, url);
            match client.ready().await.unwrap().call(request).await {
                Ok(response) => assert_eq!(response.status() == 200, address != bad),
                Err(error) => {
                    assert!(error.rejected().is_some() && address == bad, "{error}");
                    rejected += 1;
                }
            }
        }
    }
    assert_eq!((bad_calls.load(Ordering::SeqCst), rejected), (5, 35));
    assert!(good.iter().all(|(_, calls)| calls.load(Ordering::SeqCst) == 40));
    assert_eq!(hosts.len(), 1, "a healthy host needs no breaker");
    assert_eq!(hosts.get(&bad.to_string()).unwrap().state(), State::Open);
}
