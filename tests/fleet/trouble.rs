//! A server that is full or slow, and replicas that all restart while it is away.

use std::time::Duration;

use tower_breaker::{
    Breaker, State,
    fleet::{FleetHealth, RedisFleet},
    store::FileStore,
};

use crate::{
    proxy::Proxy,
    replica::{fail, fleet, joined, reaches, replica, settings},
    support::{redis::RedisServer, wait::eventually},
};

/// Open for longer than a test takes.
const LONG: Duration = Duration::from_secs(600);

fn patient(fleet: RedisFleet) -> Breaker {
    settings("payments").recovery_timeout(LONG).shared(fleet).build().unwrap()
}

fn is_alone_because(breaker: &Breaker, reason: &str) {
    eventually(reason, || match breaker.fleet_health() {
        FleetHealth::Alone { reason: said, .. } => said.contains(reason),
        _ => false,
    });
}

#[test]
fn a_server_that_is_full_is_named_and_gets_what_was_decided_once_it_has_room() {
    let Some(server) = RedisServer::start() else { return };
    let [first, second] = [(); 2].map(|()| patient(fleet(&server).build().unwrap()));
    joined(&first);
    joined(&second);
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    is_alone_because(&first, "is full");
    is_alone_because(&second, "is full");
    fail(&first);
    assert_eq!(first.state(), State::Open, "it decides alone");
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    joined(&first);
    reaches(&[&second], State::Open);
}

#[test]
fn a_server_that_is_slower_than_a_command_may_take_is_none_until_it_is_quick_again() {
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::to(&server);
    let other = replica(&server, "payments");
    let slow = patient(RedisFleet::open(&proxy.url()).unwrap());
    joined(&slow);
    // Longer than the timeout of a command, which is half a second.
    proxy.delay(Duration::from_millis(800));
    eventually("alone", || slow.fleet_health().is_alone());
    other.force_open();
    fail(&slow);
    assert_eq!(slow.state(), State::Open);
    proxy.delay(Duration::ZERO);
    reaches(&[&slow], State::ForcedOpen);
    joined(&slow);
    assert_eq!(other.state(), State::ForcedOpen, "a trip says nothing about a state by hand");
}

#[test]
fn replicas_that_all_restart_while_the_server_is_away_start_from_their_near_stores() {
    let Some(server) = RedisServer::start() else { return };
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let build = |folder: &tempfile::TempDir| {
        let near = FileStore::open(folder.path()).unwrap();
        let builder = settings("payments").recovery_timeout(LONG).store(near);
        builder.shared(fleet(&server).build().unwrap()).build().unwrap()
    };
    let before = folders.each_ref().map(build);
    before.iter().for_each(joined);
    fail(&before[0]);
    reaches(&before.each_ref(), State::Open);
    for breaker in &before {
        breaker.flush_blocking(Duration::from_secs(60)).unwrap();
    }
    drop(before);
    server.stop();
    let after = folders.each_ref().map(build);
    for breaker in &after {
        assert!(breaker.fleet_health().is_alone());
        let left = breaker.try_acquire().unwrap_err().retry_after().unwrap();
        assert!(left > LONG / 2 && left <= LONG, "{left:?}");
    }
    // The server comes back empty, and learns it from them.
    server.restart();
    after.iter().for_each(joined);
    let new = replica(&server, "payments");
    reaches(&[&new], State::Open);
}
