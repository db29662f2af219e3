//! A process that ends: one replica that restarts must not vote as two.

use std::time::Duration;

use tower_breaker::{
    State,
    fleet::{Agreement, RedisFleet},
};

use crate::{
    replica::{fail, joined, reaches, replica, settings},
    support::{
        child::{Role, RoleResult, argument, say},
        redis::RedisServer,
        wait::eventually,
    },
};

pub(crate) const VOTER: &str = "a replica that votes and ends";
pub(crate) const OPERATOR: &str = "a program that sets a state and ends";
/// Longer than a test takes.
const OPEN_TIME: Duration = Duration::from_secs(600);

/// The role: trips, and once its vote is counted, ends as a program does.
pub(crate) fn voter() -> RoleResult {
    let fleet = RedisFleet::builder(&argument("REDIS")).agreement(Agreement::replicas(2));
    // A server that is slow with its answer is no reason to decide alone.
    let fleet = fleet.command_timeout(Duration::from_secs(60)).build()?;
    let breaker = settings("payments").recovery_timeout(OPEN_TIME).shared(fleet).build()?;
    joined(&breaker);
    fail(&breaker);
    say("tripped");
    // The test has seen the vote.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    say("ends");
    drop(breaker);
    std::process::exit(0)
}

/// The role: sets a state, and ends once the fleet has answered.
pub(crate) fn operator() -> RoleResult {
    let fleet = RedisFleet::builder(&argument("REDIS")).build()?;
    let breaker = settings("payments").shared(fleet).build()?;
    joined(&breaker);
    breaker.force_open();
    tokio_test::block_on(breaker.fleet_views(Duration::from_secs(5)))?;
    std::process::exit(0)
}

#[needs::programs("redis-server")]
#[test]
fn a_state_set_by_a_program_that_asks_for_the_views_before_it_ends_holds_for_all() {
    let Some(server) = RedisServer::start() else { return };
    let other = replica(&server, "payments");
    for _ in 0..5 {
        let mut process = Role::new(OPERATOR).argument("REDIS", server.url()).start();
        eventually("it ends", || process.status().is_some());
        assert!(process.status().unwrap().success());
        reaches(&[&other], State::ForcedOpen);
        other.reset();
    }
}

fn votes(server: &RedisServer) -> usize {
    let fields = server.command(&["HKEYS", "circuit_breaker:{0}:fleet:payments:breaker"]);
    fields.lines().filter(|field| field.starts_with("v:")).count()
}

/// Whether a process that ends leaves no vote.
fn takes_vote_back(server: &RedisServer) -> bool {
    server.command(&["FLUSHALL"]);
    let mut process = Role::new(VOTER).argument("REDIS", server.url()).start();
    assert_eq!(process.line().as_deref(), Some("tripped"));
    eventually("its vote is counted", || votes(server) == 1);
    assert_eq!(process.ask(), "ends");
    eventually("it ends", || process.status().is_some());
    assert!(process.status().unwrap().success());
    votes(server) == 0
}

#[needs::programs("redis-server")]
#[test]
fn a_process_that_ends_takes_its_vote_back() {
    let Some(server) = RedisServer::start() else { return };
    // A busy machine may need longer than the half second for which the drop waits.
    let taken_back = (0..5).filter(|_| takes_vote_back(&server)).count();
    assert!(taken_back >= 3, "{taken_back} of 5");
}
