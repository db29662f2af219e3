//! Endless streams as probes.

use std::time::Duration;

use tokio::time::timeout;
use tower_breaker::{
    Breaker, CircuitBreakerLayer, OnBodyEnd, State, Trip, Window, clock::ManualClock,
};

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

/// The reader of the probe waits for the next message, or reads no more.
async fn closes<T>(client: &Client<T>, breaker: &Breaker, clock: &ManualClock)
where
    T: Transport + Clone,
{
    let half_open_timeout = breaker.config().half_open_timeout.unwrap();
    for (reads, pause) in [(true, A_LITTLE), (false, 2 * half_open_timeout)] {
        trip(breaker);
        clock.advance(OPEN_TIME);
        let mut probe = client.down(HEALTHY_STREAM).await.unwrap();
        assert_eq!(probe.message().await.unwrap().unwrap(), "a");
        assert_eq!(breaker.state(), State::HalfOpen);
        let reader = tokio::spawn(async move {
            if reads { probe.message().await } else { std::future::pending().await }
        });
        clock.advance(pause);
        assert_eq!(breaker.state(), State::Closed, "{reads}");
        go_on(client, breaker).await;
        assert!(!reader.is_finished());
        reader.abort();
    }
    assert_eq!((breaker.state(), breaker.stats().consecutive_failures()), (State::Closed, 0));
}

/// A hundred other streams.
async fn go_on<T: Transport + Clone>(client: &Client<T>, breaker: &Breaker) {
    let mut streams = Vec::new();
    for _ in 0..100 {
        let mut stream = client.down(HEALTHY_STREAM).await.unwrap();
        assert_eq!(stream.message().await.unwrap().unwrap(), "a");
        streams.push(stream);
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test]
async fn an_endless_stream_closes_the_circuit_of_a_client() {
    let server = Running::bare().await;
    let (builder, clock) = touchy();
    let settings = OnBodyEnd::new().stream_alive_after(A_LITTLE);
    let layer = builder.grpc().on_body_end(settings).build().unwrap();
    let breaker = layer.breaker().clone();
    let client = server.client_behind(layer);
    closes(&client, &breaker, &clock).await;
}

#[tokio::test]
async fn an_endless_stream_closes_the_circuit_of_a_server() {
    let (builder, clock) = touchy();
    let settings = OnBodyEnd::new().stream_alive_after(A_LITTLE);
    let layer = builder.grpc().on_body_end(settings).build().unwrap();
    let breaker = layer.breaker().clone();
    let server = Running::behind(layer).await;
    closes(&Client::new(server.channel()), &breaker, &clock).await;
}

/// With nothing else that would free its slot.
#[tokio::test]
async fn an_endless_stream_closes_the_circuit_after_five_seconds_by_default() {
    let server = Running::bare().await;
    let (builder, clock) = touchy();
    let layer = builder.half_open_timeout(None).grpc().build().unwrap();
    let breaker = layer.breaker().clone();
    let client = server.client_behind(layer);
    trip(&breaker);
    clock.advance(OPEN_TIME);
    let mut probe = client.down(HEALTHY_STREAM).await.unwrap();
    assert_eq!(probe.message().await.unwrap().unwrap(), "a");
    clock.advance(Duration::from_millis(4_999));
    assert_eq!(breaker.state(), State::HalfOpen);
    clock.advance(Duration::from_millis(1));
    assert_eq!(breaker.state(), State::Closed);
    go_on(&client, &breaker).await;
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
