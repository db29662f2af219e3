//! Callers that hang up: nothing is recorded, and the probe's slot is released.

use std::time::Duration;

use tokio::time::timeout;
use tonic::transport::{Channel, Server};
use tower::ServiceBuilder;
use tower_breaker::{Breaker, State};

use crate::support::wait::eventually_async;

use crate::{
    OPEN_TIME,
    client::{Client, Transport, UNARY},
    server::{Running, routes},
    touchy, trip,
};

const SOON: Duration = Duration::from_millis(50);

/// Whether the only probe slot is in use.
fn probe_is_out(breaker: &Breaker) -> bool {
    breaker.try_acquire().is_err()
}

/// Hangs up on a half-open breaker before the response, and in the middle of a stream.
async fn hang_up<T: Transport + Clone>(client: &Client<T>, breaker: &Breaker) {
    let call = client.unary(UNARY, "hang");
    timeout(SOON, call).await.expect_err("the server does not respond");
    eventually_async("the slot of the call is released", || !probe_is_out(breaker)).await;

    let mut answers = client.down("a,hang").await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap(), "a");
    assert!(probe_is_out(breaker), "the call lasts until the end of its stream");
    drop(answers);
    eventually_async("the slot of the stream is released", || !probe_is_out(breaker)).await;

    assert_eq!(breaker.state(), State::HalfOpen, "nothing was recorded");
    client.unary(UNARY, "fine").await.unwrap();
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test]
async fn a_client_that_hangs_up_releases_the_probe_of_its_own_breaker() {
    let server = Running::bare().await;
    let (builder, clock) = touchy();
    let layer = builder.grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let channel: Channel = server.channel();
    let client = Client::new(ServiceBuilder::new().layer(layer).service(channel));
    trip(&breaker);
    clock.advance(OPEN_TIME);
    hang_up(&client, &breaker).await;
}

#[tokio::test]
async fn a_client_that_hangs_up_releases_the_probe_of_the_servers_breaker() {
    let (builder, clock) = touchy();
    let layer = builder.grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let server = Running::behind(layer).await;
    trip(&breaker);
    clock.advance(OPEN_TIME);
    hang_up(&Client::new(server.channel()), &breaker).await;
}

#[tokio::test]
async fn a_server_timeout_releases_the_probe() {
    let (builder, clock) = touchy();
    let layer = builder.grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let server = Running::start(|incoming| {
        let server = Server::builder().timeout(SOON).layer(layer).add_routes(routes());
        server.serve_with_incoming(incoming)
    })
    .await;
    trip(&breaker);
    clock.advance(OPEN_TIME);
    let client = Client::new(server.channel());
    let status = client.unary(UNARY, "hang").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Cancelled);
    eventually_async("the slot is released", || !probe_is_out(&breaker)).await;
    assert_eq!(breaker.state(), State::HalfOpen);
}
