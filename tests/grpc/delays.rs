//! A delay that the server requests extends the open time of a breaker with a backoff.

use std::time::Duration;

use tower_breaker::{Backoff, Breaker, CircuitBreakerLayerBuilder};

use crate::{
    OPEN_TIME,
    client::{UNARY, drain},
    server::Running,
    touchy,
};

/// The open time of the breaker after a call that ends in the headers or in the trailers.
async fn opens_for(
    builder: CircuitBreakerLayerBuilder,
    script: &str,
    in_trailers: bool,
) -> Duration {
    let server = Running::bare().await;
    let layer = builder.grpc().build().unwrap();
    let breaker: Breaker = layer.breaker().clone();
    let client = server.client_behind(layer);
    if in_trailers {
        drain(client.down(&format!("one,{script}")).await).await.1.unwrap();
    } else {
        client.unary(UNARY, script).await.unwrap_err();
    }
    breaker.try_acquire().unwrap_err().retry_after().unwrap()
}

fn with_backoff() -> CircuitBreakerLayerBuilder {
    let backoff = Backoff::new(2.0, Duration::from_secs(1000));
    touchy().0.backoff(backoff)
}

#[tokio::test]
async fn the_open_time_is_the_delay_that_the_server_requests() {
    let seconds = Duration::from_secs;
    let cases = [
        ("info 300000", seconds(300)),
        ("info 90500", Duration::from_millis(90_500)),
        ("pushback 240000", seconds(240)),
        // The pushback takes precedence.
        ("both 120000 300000", seconds(120)),
        // "Do not retry" gives no delay.
        ("pushback -1", OPEN_TIME),
        ("pushback soon", OPEN_TIME),
        ("both -1 300000", OPEN_TIME),
        // Shorter than the breaker's own open time, and longer than its maximum.
        ("info 1000", OPEN_TIME),
        ("pushback 2000000", seconds(1000)),
        ("err 14", OPEN_TIME),
    ];
    for (script, expected) in cases {
        for in_trailers in [false, true] {
            let open = opens_for(with_backoff(), script, in_trailers).await;
            assert_eq!(open, expected, "{script}, in trailers: {in_trailers}");
        }
    }
}

#[tokio::test]
async fn without_a_backoff_the_delay_is_ignored() {
    for script in ["info 300000", "pushback 240000"] {
        assert_eq!(opens_for(touchy().0, script, true).await, OPEN_TIME);
    }
}
