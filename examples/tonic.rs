//! A gRPC server and its client, with a breaker on each side: `cargo run --example tonic`
//!
//! The server's breaker protects its database, the client's breaker protects the server. The code
//! that `tonic-build` generates from a proto file is written by hand. The program fails if anything
//! differs from what it prints.

use std::{
    error::Error,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    time::Duration,
};

use axum::{Router, body::Body, routing::post};
use http::{Request, uri::PathAndQuery};
use tonic::{
    Code, Response, Status, client, server,
    service::Routes,
    transport::{Channel, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::{ServiceBuilder, service_fn};
use tower_breaker::{
    CircuitBreakerLayer, GrpcCircuitBreaker, Rejected, State, Trip, reject::RejectAsTonicStatus,
};

#[derive(Clone, PartialEq, prost::Message)]
struct Item {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Stock {
    #[prost(uint32, tag = "1")]
    left: u32,
}

static DATABASE_DOWN: AtomicBool = AtomicBool::new(false);
static DATABASE_CALLS: AtomicU32 = AtomicU32::new(0);

async fn answer(item: tonic::Request<Item>) -> Result<Response<Stock>, Status> {
    DATABASE_CALLS.fetch_add(1, SeqCst);
    match item.into_inner().name.as_str() {
        _ if DATABASE_DOWN.load(SeqCst) => Err(Status::unavailable("the database is down")),
        "tea" => Ok(Response::new(Stock { left: 7 })),
        name => Err(Status::not_found(format!("no {name} here"))),
    }
}

async fn left(request: Request<Body>) -> http::Response<tonic::body::Body> {
    server::Grpc::new(ProstCodec::default()).unary(service_fn(answer), request).await
}

type StockChannel = GrpcCircuitBreaker<Channel, RejectAsTonicStatus>;

async fn ask(client: &mut client::Grpc<StockChannel>, name: &str) -> Result<u32, Status> {
    client.ready().await.map_err(Status::from_error)?;
    let item = tonic::Request::new(Item { name: name.to_owned() });
    let path = PathAndQuery::from_static("/shop.Stock/Left");
    let stock: Response<Stock> = client.unary(item, path, ProstCodec::default()).await?;
    Ok(stock.get_ref().left)
}

pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let server_breaker = CircuitBreakerLayer::builder("database")
        .trip_on(Trip::consecutive_failures(3))
        .recovery_timeout(Duration::from_secs(2))
        .grpc()
        .build()?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let routes = Routes::from(Router::new().route("/shop.Stock/Left", post(left)));
    let server = Server::builder().layer(server_breaker.clone()).add_routes(routes);
    let server = tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));

    let client_breaker = CircuitBreakerLayer::builder("stock")
        .trip_on(Trip::consecutive_failures(5))
        .recovery_timeout(Duration::from_secs(2))
        .grpc()
        .reject_with(RejectAsTonicStatus)
        .build()?;
    let channel = Channel::from_shared(format!("http://{address}"))?.connect().await?;
    let channel = ServiceBuilder::new().layer(client_breaker.clone()).service(channel);
    let mut client = client::Grpc::new(channel);

    println!("All healthy:             {} packets of tea", ask(&mut client, "tea").await?);
    let status = ask(&mut client, "gold").await.expect_err("there is no gold");
    println!("NOT_FOUND, no failure:   {}", status.message());

    DATABASE_DOWN.store(true, SeqCst);
    for call in 1..=6 {
        let status = ask(&mut client, "tea").await.expect_err("the database is down");
        assert_eq!(status.code(), Code::Unavailable);
        let source = match Rejected::find(&status) {
            Some(_) => "the client's breaker",
            None if DATABASE_CALLS.load(SeqCst) < 2 + call => "the server's breaker",
            None => "the server",
        };
        println!("Call {call}, {source:21} {}", status.message());
    }
    assert_eq!(DATABASE_CALLS.load(SeqCst), 2 + 3, "the fourth call is rejected");
    assert_eq!(client_breaker.breaker().state(), State::Open);

    DATABASE_DOWN.store(false, SeqCst);
    println!("The database recovers, and the open times end.");
    tokio::time::sleep(Duration::from_millis(2100)).await;
    println!("A probe succeeds:        {} packets of tea", ask(&mut client, "tea").await?);
    assert_eq!(client_breaker.breaker().state(), State::Closed);
    assert_eq!(server_breaker.breaker().state(), State::Closed);
    server.abort();
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    run().await
}
