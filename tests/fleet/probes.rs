//! Probes of all replicas together, and the leases that they take.

use std::time::{Duration, Instant};

use tower_breaker::State;

use crate::{
    replica::{LEASE, fail, fleet, joined, probe, reaches, replica, settings},
    support::{redis::RedisServer, wait::eventually},
};

#[needs::programs("redis-server")]
#[test]
fn at_most_one_replica_probes_at_a_time() {
    let Some(server) = RedisServer::start() else { return };
    let replicas = [(); 3].map(|()| replica(&server, "payments"));
    fail(&replicas[0]);
    let all: Vec<_> = replicas.iter().collect();
    reaches(&all, State::HalfOpen);
    let mut probes = Vec::new();
    eventually("a probe is admitted", || {
        probes.extend(replicas.iter().filter_map(|breaker| breaker.try_acquire().ok()));
        !probes.is_empty()
    });
    // Longer than the lease, which is renewed while the probe is out.
    let until = Instant::now() + LEASE + LEASE / 2;
    while Instant::now() < until {
        probes.extend(replicas.iter().filter_map(|breaker| breaker.try_acquire().ok()));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(probes.len(), 1);
    probes.pop().unwrap().success();
    reaches(&all, State::Closed);
}

/// How many leases the server knows.
fn leases(server: &RedisServer) -> usize {
    let fields = server.command(&["HKEYS", "circuit_breaker:{0}:fleet:payments:breaker"]);
    fields.lines().filter(|field| field.starts_with("l:")).count()
}

#[needs::programs("redis-server")]
#[test]
fn a_replica_that_has_calls_has_a_lease_before_one_meets_the_half_open_circuit() {
    let Some(server) = RedisServer::start() else { return };
    let (busy, idle) = (replica(&server, "payments"), replica(&server, "payments"));
    let has_lease_in_time = || {
        fail(&busy);
        // The last call comes while the circuit is open.
        eventually("the open time is nearly over", || match busy.try_acquire() {
            // On a machine that has stood still for the rest of it.
            Ok(_) => true,
            Err(rejected) => {
                rejected.retry_after().is_none_or(|left| left < Duration::from_millis(150))
            }
        });
        // A lease that is not used goes back after a second.
        let over = Instant::now();
        let mut has_lease = false;
        while !has_lease && over.elapsed() < Duration::from_secs(2) {
            has_lease = leases(&server) == 1;
        }
        if has_lease {
            let mut probe = None;
            eventually("the answer has arrived", || {
                probe = busy.try_acquire().ok();
                probe.is_some()
            });
            assert!(idle.try_acquire().is_err());
            probe.unwrap().success();
        } else {
            probe(&busy);
        }
        reaches(&[&busy, &idle], State::Closed);
        has_lease
    };
    // A machine that stands still for a second misses it.
    assert!((0..5).any(|_| has_lease_in_time()));
}

#[needs::programs("redis-server")]
#[test]
fn an_unused_lease_goes_back_after_a_second_and_idle_replicas_fetch_none() {
    let Some(server) = RedisServer::start() else { return };
    let (busy, idle) = (replica(&server, "payments"), replica(&server, "payments"));
    fail(&busy);
    reaches(&[&idle, &busy], State::HalfOpen);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(leases(&server), 0, "no replica has had a call since the circuit is open");
    eventually("a lease", || {
        let _ = busy.try_acquire();
        leases(&server) == 1
    });
    eventually("it goes back", || leases(&server) == 0);
    assert_eq!(idle.state(), State::HalfOpen);
    probe(&idle);
    reaches(&[&busy, &idle], State::Closed);
}

#[needs::programs("redis-server")]
#[test]
fn a_cancelled_probe_gives_its_lease_back() {
    let Some(server) = RedisServer::start() else { return };
    let (first, second) = (replica(&server, "payments"), replica(&server, "payments"));
    fail(&first);
    reaches(&[&first, &second], State::HalfOpen);
    eventually("a probe is admitted", || match first.try_acquire() {
        Ok(permit) => {
            permit.cancel();
            true
        }
        Err(_) => false,
    });
    assert_eq!(first.state(), State::HalfOpen);
    probe(&second);
    reaches(&[&first, &second], State::Closed);
}

#[needs::programs("redis-server")]
#[test]
fn probes_of_several_replicas_count_together() {
    let Some(server) = RedisServer::start() else { return };
    let build = || {
        let builder = settings("payments").success_threshold(2).half_open_max_calls(1);
        let breaker = builder.shared(fleet(&server).build().unwrap()).build().unwrap();
        joined(&breaker);
        breaker
    };
    let (first, second) = (build(), build());
    fail(&first);
    reaches(&[&first, &second], State::HalfOpen);
    probe(&first);
    assert_eq!(first.state(), State::HalfOpen);
    probe(&second);
    reaches(&[&first, &second], State::Closed);
}
