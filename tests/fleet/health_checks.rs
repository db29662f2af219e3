//! Health checks of replicas: a check is the probe of the whole fleet.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tower_breaker::{Breaker, State, health_check::HealthCheck};

use crate::{
    replica::{fail, replica},
    support::{redis::RedisServer, wait::eventually_async},
};

#[derive(Default)]
struct Dependency {
    is_up: AtomicBool,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    checks: AtomicUsize,
}

impl Dependency {
    async fn asked(self: Arc<Self>) -> io::Result<()> {
        self.checks.fetch_add(1, SeqCst);
        self.most_in_flight.fetch_max(self.in_flight.fetch_add(1, SeqCst) + 1, SeqCst);
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.in_flight.fetch_sub(1, SeqCst);
        if self.is_up.load(SeqCst) { Ok(()) } else { Err(io::Error::other("down")) }
    }
}

#[needs::programs("redis-server")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_check_at_a_time_is_the_probe_of_the_fleet() {
    let Some(server) = RedisServer::start() else { return };
    let replicas = [(); 3].map(|()| replica(&server, "payments"));
    let dependency = Arc::new(Dependency::default());
    let check = |breaker: &Breaker| {
        let dependency = Arc::clone(&dependency);
        let check = HealthCheck::new(move || Arc::clone(&dependency).asked());
        // The open time is the fleet's: none of the replicas ends it early.
        check.recover_early().spawn(breaker).unwrap()
    };
    let _tasks = replicas.each_ref().map(check);
    fail(&replicas[0]);
    let all = |state| replicas.iter().all(|replica| replica.state() == state);
    eventually_async("all are open", || all(State::Open)).await;
    let opens = || replicas[1].stats().consecutive_opens();
    eventually_async("two checks fail, one after the other", || opens() >= 3).await;
    assert_eq!(dependency.most_in_flight.load(SeqCst), 1);
    dependency.is_up.store(true, SeqCst);
    eventually_async("a check closes all", || all(State::Closed)).await;
    assert_eq!(dependency.most_in_flight.load(SeqCst), 1);
}
