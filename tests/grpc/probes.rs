//! Streams that go on and on, as probes.

use std::time::Duration;

use tokio::time::timeout;
use tonic::transport::Server;
use tower::ServiceBuilder;
use tower_breaker::{Breaker, CircuitBreakerLayer, OnBodyEnd, State, Trip, Window};

use crate::{
    OPEN_TIME,
    client::{Client, Transport},
    server::{Running, routes},
    support::wait::eventually_async,
    touchy, trip,
};

const A_LITTLE: Duration = Duration::from_millis(50);

/// One message, and then nothing for as long as the client listens.
const HEALTHY_STREAM: &str = "a,hang";

async fn closes<T: Transport + Clone>(client: &Client<T>, breaker: &Breaker) {
    let mut probe = client.down(HEALTHY_STREAM).await.unwrap();
    assert_eq!(probe.message().await.unwrap().unwrap(), "a");
    let reader = tokio::spawn(async move { probe.message().await });
    eventually_async("the circuit closes", || breaker.state() == State::Closed).await;
    // The stream goes on, and so do a hundred beside it.
    assert!(!reader.is_finished());
    let mut streams = Vec::new();
    for _ in 0..100 {
        let mut stream = client.down(HEALTHY_STREAM).await.unwrap();
        assert_eq!(stream.message().await.unwrap().unwrap(), "a");
        streams.push(stream);
    }
    reader.abort();
    drop(streams);
    assert_eq!((breaker.state(), breaker.stats().consecutive_failures()), (State::Closed, 0));
}

#[tokio::test]
async fn a_stream_that_never_ends_closes_the_circuit_of_a_client() {
    let server = Running::bare().await;
    let (builder, clock) = touchy();
    let settings = OnBodyEnd::new().stream_alive_after(A_LITTLE);
    let layer = builder.grpc().on_body_end(settings).build().unwrap();
    let breaker = layer.breaker().clone();
    let client = Client::new(ServiceBuilder::new().layer(layer).service(server.channel()));
    trip(&breaker);
    clock.advance(OPEN_TIME);
    closes(&client, &breaker).await;
}

#[tokio::test]
async fn a_stream_that_never_ends_closes_the_circuit_of_a_server() {
    let (builder, clock) = touchy();
    let settings = OnBodyEnd::new().stream_alive_after(A_LITTLE);
    let layer = builder.grpc().on_body_end(settings).build().unwrap();
    let breaker = layer.breaker().clone();
    let server = Running::start(|incoming| {
        Server::builder().layer(layer).add_routes(routes()).serve_with_incoming(incoming)
    })
    .await;
    trip(&breaker);
    clock.advance(OPEN_TIME);
    closes(&Client::new(server.channel()), &breaker).await;
}

/// A server hangs after its head and before its first message: its callers give up.
#[tokio::test]
async fn a_stream_that_is_given_up_before_its_first_message_is_slow() {
    let rule = Trip::slow_call_rate(1.0, A_LITTLE, Window::calls(1000)).minimum_calls(1000);
    for (script, slow) in [("hang", 1), (HEALTHY_STREAM, 0)] {
        let server = Running::bare().await;
        let layer = CircuitBreakerLayer::builder("slow").trip_on(rule).grpc().build().unwrap();
        let breaker = layer.breaker().clone();
        let client = Client::new(ServiceBuilder::new().layer(layer).service(server.channel()));
        let call = async {
            let mut stream = client.down(script).await?;
            while stream.message().await?.is_some() {}
            Ok::<_, tonic::Status>(())
        };
        timeout(4 * A_LITTLE, call).await.expect_err("it hangs");
        eventually_async("it is given up", || breaker.stats().window_slow_calls() == slow).await;
        assert_eq!(breaker.stats().window_calls(), slow);
    }
}
