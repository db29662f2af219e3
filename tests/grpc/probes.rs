//! Endless streams as probes.

use std::time::Duration;

use tokio::time::timeout;
use tower_breaker::{Breaker, CircuitBreakerLayer, OnBodyEnd, State, Trip, Window};

use crate::{
    OPEN_TIME,
    client::{Client, Transport},
    server::Running,
    support::wait::eventually_async,
    touchy, trip,
};

const A_LITTLE: Duration = Duration::from_millis(50);

/// One message, and then nothing.
const HEALTHY_STREAM: &str = "a,hang";

async fn closes<T: Transport + Clone>(client: &Client<T>, breaker: &Breaker) {
    let mut probe = client.down(HEALTHY_STREAM).await.unwrap();
    assert_eq!(probe.message().await.unwrap().unwrap(), "a");
    let reader = tokio::spawn(async move { probe.message().await });
    eventually_async("the circuit closes", || breaker.state() == State::Closed).await;
    // The stream continues, and so do a hundred others.
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
async fn an_endless_stream_closes_the_circuit_of_a_client() {
    let server = Running::bare().await;
    let (builder, clock) = touchy();
    let settings = OnBodyEnd::new().stream_alive_after(A_LITTLE);
    let layer = builder.grpc().on_body_end(settings).build().unwrap();
    let breaker = layer.breaker().clone();
    let client = server.client_behind(layer);
    trip(&breaker);
    clock.advance(OPEN_TIME);
    closes(&client, &breaker).await;
}

#[tokio::test]
async fn an_endless_stream_closes_the_circuit_of_a_server() {
    let (builder, clock) = touchy();
    let settings = OnBodyEnd::new().stream_alive_after(A_LITTLE);
    let layer = builder.grpc().on_body_end(settings).build().unwrap();
    let breaker = layer.breaker().clone();
    let server = Running::behind(layer).await;
    trip(&breaker);
    clock.advance(OPEN_TIME);
    closes(&Client::new(server.channel()), &breaker).await;
}

/// The server hangs after the head and before the first message.
#[tokio::test]
async fn a_stream_that_is_abandoned_before_its_first_message_is_slow() {
    let rule = Trip::slow_call_rate(1.0, A_LITTLE, Window::calls(1000)).minimum_calls(1000);
    for (script, slow) in [("hang", 1), (HEALTHY_STREAM, 0)] {
        let server = Running::bare().await;
        let layer = CircuitBreakerLayer::builder("slow").trip_on(rule).grpc().build().unwrap();
        let breaker = layer.breaker().clone();
        let client = server.client_behind(layer);
        let call = async {
            let mut stream = client.down(script).await?;
            while stream.message().await?.is_some() {}
            Ok::<_, tonic::Status>(())
        };
        timeout(4 * A_LITTLE, call).await.expect_err("it hangs");
        eventually_async("the abandoned call is recorded", || {
            breaker.stats().window_slow_calls() == slow
        })
        .await;
        assert_eq!(breaker.stats().window_calls(), slow);
    }
}
