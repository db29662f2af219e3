//! A reqwest client with a breaker for each host.

use std::time::Duration;

use axum::{Router, routing::get};
use http::StatusCode;
use reqwest::{Client, Method, Request, Response, Url};
use tower::{Layer, ServiceExt};
use tower_breaker::{
    BoxError, Error, KeyedBreakers, KeyedCircuitBreakerLayer, State,
    classify::ServerErrorsAsFailures,
    keyed::{ByHost, KeyedCircuitBreaker},
};

#[derive(Clone)]
struct Crawler {
    client: KeyedCircuitBreaker<Client, ByHost, ServerErrorsAsFailures>,
}

impl Crawler {
    fn new(hosts: KeyedBreakers) -> Result<Self, BoxError> {
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
        let layer = KeyedCircuitBreakerLayer::by_host(hosts).classify(ServerErrorsAsFailures);
        Ok(Self { client: layer.layer(client) })
    }

    async fn get(&self, url: Url) -> Result<Response, Error<reqwest::Error>> {
        self.client.clone().oneshot(Request::new(Method::GET, url)).await
    }
}

#[tokio::test]
async fn a_host_that_fails_does_not_affect_another() {
    let good = super::serve(Router::new().route("/", get(async || "good"))).await;
    let bad = Router::new().route("/", get(async || StatusCode::INTERNAL_SERVER_ERROR));
    let bad = super::serve(bad).await;
    let url = |address| format!("http://{address}/").parse::<Url>().unwrap();
    let hosts = KeyedBreakers::builder("upstream").build().unwrap();
    let crawler = Crawler::new(hosts.clone()).unwrap();
    for _ in 0..5 {
        let response = crawler.get(url(bad)).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
    let error = crawler.get(url(bad)).await.unwrap_err();
    assert!(error.rejected().is_some(), "{error}");
    assert_eq!(hosts.get(&bad.to_string()).unwrap().state(), State::Open);
    assert_eq!(crawler.get(url(good)).await.unwrap().status(), StatusCode::OK);
}
