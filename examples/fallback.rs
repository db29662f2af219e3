//! An answer while a dependency is down, from another service: `cargo run --example fallback`
//!
//! A price service fails, the circuit opens, and callers get the last known price instead of an
//! error. After the service has recovered, they get live prices again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_breaker::{CircuitBreakerLayer, Event, Trip};

/// A dependency that can fail, and counts its calls.
#[derive(Default)]
struct Exchange {
    down: AtomicBool,
    calls: AtomicU64,
}

impl Exchange {
    async fn price(self: Arc<Self>, symbol: &'static str) -> Result<String, BoxError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(5)).await;
        if self.down.load(Ordering::Relaxed) {
            return Err("the exchange does not respond".into());
        }
        Ok(format!("{symbol} costs 101 (live)"))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    run().await
}

pub(crate) async fn run() -> Result<(), BoxError> {
    let exchange = Arc::new(Exchange::default());
    let last_known = service_fn(|symbol: &'static str| async move {
        Ok::<_, BoxError>(format!("{symbol} cost 100 (yesterday)"))
    });
    let breaker = CircuitBreakerLayer::builder("exchange")
        .trip_on(Trip::consecutive_failures(3))
        .recovery_timeout(Duration::from_secs(1))
        .on_event(|event| {
            if let Event::Transition(transition) = event {
                println!("  -- circuit {}", transition.to);
            }
        })
        .fallback_service(last_known)
        .build()?;
    let mut prices = ServiceBuilder::new().layer(breaker).service(service_fn({
        let exchange = Arc::clone(&exchange);
        move |symbol| Arc::clone(&exchange).price(symbol)
    }));

    ask(&mut prices).await?;
    println!("The exchange goes down.");
    exchange.down.store(true, Ordering::Relaxed);
    for _ in 0..5 {
        ask(&mut prices).await?;
    }
    let calls = exchange.calls.load(Ordering::Relaxed);
    println!("It got {calls} calls: one before, and three until the circuit opened.");
    println!("It recovers.");
    exchange.down.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    ask(&mut prices).await?;

    if calls != 4 || exchange.calls.load(Ordering::Relaxed) != 5 {
        return Err("unexpected number of calls to the exchange".into());
    }
    Ok(())
}

async fn ask<S>(prices: &mut S) -> Result<(), BoxError>
where
    S: Service<&'static str, Response = String, Error = BoxError>,
{
    match prices.ready().await?.call("ACME").await {
        Ok(price) => println!("  {price}"),
        Err(error) => println!("  no price: {error}"),
    }
    Ok(())
}
