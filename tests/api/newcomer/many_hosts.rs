//! A reqwest client with a breaker for each host.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use axum::{Router, routing::get};
use http::StatusCode;
use reqwest::{Client, Request, Response, Url};
use tower::{Layer, ServiceExt};
use tower_breaker::{
    BoxError, CircuitBreaker, CircuitBreakerLayer, Rejected, Trip, classify::ServerErrorsAsFailures,
};

type HostClient = CircuitBreaker<Client, ServerErrorsAsFailures>;

struct Hosts {
    client: Client,
    by_authority: Mutex<HashMap<String, HostClient>>,
}

impl Hosts {
    async fn get(&self, url: Url) -> Result<Response, BoxError> {
        let client = self.client_for(url.authority())?;
        Ok(client.oneshot(Request::new(http::Method::GET, url)).await?)
    }

    fn client_for(&self, authority: &str) -> Result<HostClient, BoxError> {
        let mut clients = self.by_authority.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(authority) {
            return Ok(client.clone());
        }
        let layer = CircuitBreakerLayer::builder(authority)
            .trip_on(Trip::consecutive_failures(1))
            .classify(ServerErrorsAsFailures)
            .build()?;
        let client = layer.layer(self.client.clone());
        clients.insert(authority.to_owned(), client.clone());
        Ok(client)
    }
}

#[tokio::test]
async fn a_host_that_fails_does_not_affect_another() {
    let good = super::serve(Router::new().route("/", get(async || "good"))).await;
    let bad = Router::new().route("/", get(async || StatusCode::INTERNAL_SERVER_ERROR));
    let bad = super::serve(bad).await;
    let url = |address| format!("http://{address}/").parse::<Url>().unwrap();
    let client = Client::builder().no_proxy().build().unwrap();
    let hosts = Hosts { client, by_authority: Mutex::default() };
    assert_eq!(hosts.get(url(bad)).await.unwrap().status(), StatusCode::INTERNAL_SERVER_ERROR);
    let error = hosts.get(url(bad)).await.unwrap_err();
    assert_eq!(Rejected::find(&*error).unwrap().name(), bad.to_string());
    assert_eq!(hosts.get(url(good)).await.unwrap().status(), StatusCode::OK);
}
