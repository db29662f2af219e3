//! Callers that hang up: nothing is recorded, and a probe's slot comes back.

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

/// Whether the one probe is out.
fn probe_is_out(breaker: &Breaker) -> bool {
    breaker.try_acquire().is_err()
}

/// Hangs up on a half-open breaker: before there is an answer, and in the midst of a stream.
async fn hang_up<T: Transport + Clone>(client: &Client<T>, breaker: &Breaker) {
    let call = client.unary(UNARY, "hang");
    timeout(SOON, call).await.expect_err("the server hangs");
    eventually_async("the slot of the call comes back", || !probe_is_out(breaker)).await;

    let mut answers = client.down("a,hang").await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap(), "a");
    assert!(probe_is_out(breaker), "a stream that goes on is a call that goes on");
    drop(answers);
    eventually_async("the slot of the stream comes back", || !probe_is_out(breaker)).await;

    assert_eq!(breaker.state(), State::HalfOpen, "no end says anything");
    client.unary(UNARY, "fine").await.unwrap();
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test]
async fn a_client_that_hangs_up_gives_a_probe_back_to_its_own_breaker() {
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
async fn a_client_that_hangs_up_gives_a_probe_back_to_the_server_s_breaker() {
    let (builder, clock) = touchy();
    let layer = builder.grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let server = Running::start(|incoming| {
        Server::builder().layer(layer).add_routes(routes()).serve_with_incoming(incoming)
    })
    .await;
    trip(&breaker);
    clock.advance(OPEN_TIME);
    hang_up(&Client::new(server.channel()), &breaker).await;
}

#[tokio::test]
async fn a_server_whose_time_is_up_gives_the_probe_back() {
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
    eventually_async("the slot comes back", || !probe_is_out(&breaker)).await;
    assert_eq!(breaker.state(), State::HalfOpen);
}
