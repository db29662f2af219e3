//! A process that ends: one replica that restarts must not vote as two.

use std::time::Duration;

use tower_breaker::fleet::{Agreement, RedisFleet};

use crate::{
    replica::{fail, joined, settings},
    support::{
        child::{Role, RoleResult, argument, say},
        redis::RedisServer,
        wait::eventually,
    },
};

pub(crate) const VOTER: &str = "a replica that votes and ends";
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
