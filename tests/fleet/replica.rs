//! Replicas within the test's own process: each has a fleet of its own, with its own threads and
//! connections.

use std::time::Duration;

use tower_breaker::{
    Breaker, BreakerBuilder, State, Trip,
    fleet::{FleetHealth, RedisFleet, RedisFleetBuilder},
};

use crate::support::{redis::RedisServer, wait::eventually};

/// Long enough for all to be seen open on a busy machine.
pub(crate) const OPEN_TIME: Duration = Duration::from_secs(2);
/// Long enough not to expire while a busy machine is about to renew it.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

pub(crate) fn fleet(server: &RedisServer) -> RedisFleetBuilder {
    RedisFleet::builder(&server.url()).lease(LEASE)
}

pub(crate) fn settings(name: &str) -> BreakerBuilder {
    Breaker::builder(name).trip_on(Trip::consecutive_failures(3)).recovery_timeout(OPEN_TIME)
}

/// A replica that has joined.
pub(crate) fn replica(server: &RedisServer, name: &str) -> Breaker {
    let fleet = fleet(server).build().unwrap();
    let breaker = settings(name).shared(fleet).build().unwrap();
    joined(&breaker);
    breaker
}

pub(crate) fn joined(breaker: &Breaker) {
    eventually("the replica joins", || breaker.fleet_health() == FleetHealth::Joined);
}

pub(crate) fn fail(breaker: &Breaker) {
    for _ in 0..3 {
        breaker.try_acquire().unwrap().failure();
    }
}

#[track_caller]
pub(crate) fn reaches(breakers: &[&Breaker], state: State) {
    for breaker in breakers {
        eventually(&format!("{state}"), || breaker.state() == state);
    }
}

/// Makes calls that succeed until one is admitted.
#[track_caller]
pub(crate) fn probe(breaker: &Breaker) {
    eventually("a probe is admitted", || match breaker.try_acquire() {
        Ok(permit) => {
            permit.success();
            true
        }
        Err(_) => false,
    });
}
