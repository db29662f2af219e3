//! A gRPC client whose channel is behind a breaker, in a struct of the program.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, routing::post};
use http::uri::PathAndQuery;
use tonic::{
    Code, Status, client,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use tower::Layer;
use tower_breaker::{BoxError, CircuitBreakerLayer, GrpcCircuitBreaker, Trip};

/// What `tonic-build` makes, by hand: `StockClient<GrpcCircuitBreaker<Channel>>`.
struct Stock {
    client: client::Grpc<GrpcCircuitBreaker<Channel>>,
}

impl Stock {
    fn new(address: String) -> Result<Self, BoxError> {
        let channel =
            Endpoint::from_shared(address)?.timeout(Duration::from_secs(2)).connect_lazy();
        let breaker = CircuitBreakerLayer::builder("stock")
            .trip_on(Trip::consecutive_failures(2))
            .grpc()
            .build()?;
        Ok(Self { client: client::Grpc::new(breaker.layer(channel)) })
    }

    async fn refresh(&mut self) -> Result<(), Status> {
        self.client.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let path = PathAndQuery::from_static("/shop.Stock/Refresh");
        let codec = ProstCodec::<(), ()>::default();
        let answer = self.client.unary(tonic::Request::new(()), path, codec).await;
        answer.map(tonic::Response::into_inner)
    }
}

#[tokio::test]
async fn calls_are_rejected_after_two_failures() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let internal = async move || {
        counted.fetch_add(1, Relaxed);
        [("content-type", "application/grpc"), ("grpc-status", "13")]
    };
    let address = super::serve(Router::new().route("/shop.Stock/Refresh", post(internal))).await;
    let mut stock = Stock::new(format!("http://{address}")).unwrap();
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(stock.refresh().await.unwrap_err().code());
    }
    assert_eq!(codes, [Code::Internal, Code::Internal, Code::Unavailable]);
    assert_eq!(calls.load(Relaxed), 2);
}
