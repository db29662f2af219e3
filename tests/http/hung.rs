//! A handler that never answers, without a timeout: clients give up.

use std::{future::pending, time::Duration};

use axum::{Router, routing::get as on_get};
use tower_breaker::{Breaker, CircuitBreakerLayer, Event, State, Trip, Window, event::Reason};

use super::wire::Server;

/// How long a client waits.
const PATIENCE: Duration = Duration::from_millis(100);

/// A server whose only handler hangs behind the breaker.
fn hung(breaker: &Breaker) -> Server {
    let handler = on_get(async || pending::<()>().await);
    let layer = CircuitBreakerLayer::new(breaker.clone()).http();
    Server::of(Router::new().route("/", handler.layer(layer)))
}

/// Makes a request and gives up.
async fn give_up(server: &Server) {
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
    // An answer is a rejection.
    let _ = client.get(server.url("/")).send().await;
}

#[tokio::test]
async fn clients_that_give_up_late_open_the_circuit_by_a_slow_rule() {
    let breaker = Breaker::builder("hung")
        .trip_on(Trip::slow_call_rate(0.5, PATIENCE / 2, Window::calls(20)).minimum_calls(10))
        .build()
        .unwrap();
    let server = hung(&breaker);
    for _ in 0..60 {
        give_up(&server).await;
    }
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(breaker.snapshot().failure_count, 0, "slow calls are no failures");
}

#[tokio::test]
async fn clients_that_give_up_late_open_the_circuit_by_choice() {
    let breaker = Breaker::builder("hung").abandoned_after(PATIENCE / 2).build().unwrap();
    let server = hung(&breaker);
    for _ in 0..60 {
        give_up(&server).await;
    }
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test]
async fn clients_that_give_up_at_once_count_for_nothing() {
    let breaker = Breaker::builder("hung")
        .trip_on(Trip::slow_call_rate(0.5, PATIENCE * 600, Window::calls(20)).minimum_calls(10))
        .abandoned_after(PATIENCE * 600)
        .build()
        .unwrap();
    let server = hung(&breaker);
    for _ in 0..20 {
        give_up(&server).await;
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test]
async fn probes_into_the_hang_open_the_circuit_again_after_the_sum_of_their_times() {
    let breaker = Breaker::builder("hung")
        .recovery_timeout(Duration::from_millis(1))
        .half_open_timeout(PATIENCE * 3)
        .build()
        .unwrap();
    let server = hung(&breaker);
    let mut events = breaker.subscribe();
    breaker.trip();
    let mut is_open_again = false;
    for _ in 0..50 {
        give_up(&server).await;
        while let Ok(event) = events.try_recv() {
            is_open_again |= matches!(&event, Event::Transition(step)
                if (step.from, step.to) == (State::HalfOpen, State::Open)
                    && step.reason == Reason::ProbeTimeout);
        }
        if is_open_again {
            return;
        }
    }
    panic!("still {:?} after 50 probes", breaker.state());
}
