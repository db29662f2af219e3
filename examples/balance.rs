//! Three endpoints behind tower's balancer, of which one is down for a while. The balancer prefers
//! the endpoints whose circuit is closed, and the share of the third returns when it is back.
//! `cargo run --example balance`

use std::{
    error::Error,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tower::{
    BoxError, Layer, Service, ServiceExt,
    balance::p2c::Balance,
    discover::ServiceList,
    load::{CompleteOnResponse, PendingRequests},
    service_fn,
};
use tower_breaker::{
    Breaker, CircuitBreakerLayer, State, Trip, clock::ManualClock, reject::RejectAsBoxError,
};

/// A server that can be down, and counts its calls.
#[derive(Default)]
struct Server {
    is_down: AtomicBool,
    calls: AtomicUsize,
}

impl Server {
    fn answer(&self) -> Result<&'static str, BoxError> {
        self.calls.fetch_add(1, Relaxed);
        if self.is_down.load(Relaxed) {
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
        }
        Ok("hello")
    }
}

pub(crate) async fn run() -> Result<(), Box<dyn Error + Send + Sync>> {
    let servers = [(); 3].map(|()| Arc::new(Server::default()));
    // So that the example does not have to wait.
    let clock = ManualClock::new();
    let mut breakers: Vec<Breaker> = Vec::new();
    let mut endpoints = Vec::new();
    for (index, server) in servers.iter().enumerate() {
        let layer = CircuitBreakerLayer::builder(format!("endpoint {index}"))
            .trip_on(Trip::consecutive_failures(3))
            .recovery_timeout(Duration::from_secs(30))
            .clock(clock.clone())
            .reject_with(RejectAsBoxError)
            .build()?;
        breakers.push(layer.breaker().clone());
        let server = Arc::clone(server);
        let client = service_fn(move |(): ()| std::future::ready(server.answer()));
        // The breaker is outside of the load that it passes on.
        endpoints.push(layer.layer(PendingRequests::new(client, CompleteOnResponse::default())));
    }
    let mut balance = Balance::new(ServiceList::new::<()>(endpoints));
    let mut call = async |count: usize| -> Result<(Vec<usize>, usize), BoxError> {
        for server in &servers {
            server.calls.store(0, Relaxed);
        }
        let mut failed = 0;
        for _ in 0..count {
            failed += usize::from(balance.ready().await?.call(()).await.is_err());
        }
        Ok((servers.iter().map(|server| server.calls.load(Relaxed)).collect(), failed))
    };

    let (calls, failed) = call(300).await?;
    println!("all are up:       calls {calls:?}, failed {failed}");
    assert!(failed == 0 && calls.iter().all(|calls| *calls > 30));

    servers[2].is_down.store(true, Relaxed);
    let (calls, failed) = call(300).await?;
    println!("the third is down: calls {calls:?}, failed {failed}");
    assert!(calls[2] == 3 && failed == 3, "three failures open its circuit");

    clock.advance(Duration::from_secs(30));
    let (calls, failed) = call(300).await?;
    println!("30 s later:       calls {calls:?}, failed {failed}");
    assert!(calls[2] == 1 && failed == 1, "one probe finds it down");

    servers[2].is_down.store(false, Relaxed);
    clock.advance(Duration::from_secs(30));
    let (calls, failed) = call(300).await?;
    println!("it is back:       calls {calls:?}, failed {failed}");
    assert!(failed == 0 && calls[2] > 30 && breakers[2].state() == State::Closed);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    run().await
}
