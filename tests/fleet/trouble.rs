//! A server that is full or slow, and replicas that all restart while it is away.

use std::time::{Duration, Instant};

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

#[needs::programs("redis-server")]
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

#[needs::programs("redis-server")]
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

/// Two replicas restart while the server is away: before that, the first does this, which leads
/// both to this state. The server comes back empty.
fn restarted(
    server: &RedisServer,
    open_time: Duration,
    (before, state): (impl FnOnce(&Breaker), State),
    while_away: impl FnOnce(&[Breaker; 2]),
) -> [Breaker; 2] {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let build = |folder: &tempfile::TempDir| {
        let near = FileStore::open(folder.path()).unwrap();
        let builder = settings("payments").recovery_timeout(open_time).store(near);
        // No lease expires on a busy machine.
        let fleet = fleet(server).lease(Duration::from_secs(60)).build().unwrap();
        builder.shared(fleet).build().unwrap()
    };
    let replicas = folders.each_ref().map(build);
    replicas.iter().for_each(joined);
    before(&replicas[0]);
    reaches(&replicas.each_ref(), state);
    for breaker in &replicas {
        breaker.flush_blocking(Duration::from_secs(60)).unwrap();
    }
    drop(replicas);
    server.stop();
    let after = folders.each_ref().map(build);
    assert!(after.iter().all(|breaker| breaker.fleet_health().is_alone()));
    while_away(&after);
    server.restart();
    after.iter().for_each(joined);
    after
}

#[needs::programs("redis-server")]
#[test]
fn replicas_that_all_restart_while_the_server_is_away_start_from_their_near_stores() {
    let Some(server) = RedisServer::start() else { return };
    let after = restarted(&server, LONG, (fail, State::Open), |after| {
        for breaker in after {
            let left = breaker.try_acquire().unwrap_err().retry_after().unwrap();
            assert!(left > LONG / 2 && left <= LONG, "{left:?}");
        }
    });
    // The server learns it from them.
    let new = replica(&server, "payments");
    reaches(&[&new, &after[0], &after[1]], State::Open);
}

#[needs::programs("redis-server")]
#[test]
fn a_state_set_by_hand_outlasts_a_restart_of_all_replicas_and_an_emptied_server() {
    let Some(server) = RedisServer::start() else { return };
    let set = (Breaker::force_open as fn(&Breaker), State::ForcedOpen);
    let after = restarted(&server, LONG, set, |after| {
        assert!(after.iter().all(|breaker| breaker.state() == State::ForcedOpen));
    });
    let new = replica(&server, "payments");
    reaches(&[&new, &after[0], &after[1]], State::ForcedOpen);
    new.reset();
    reaches(&[&after[0], &after[1]], State::Closed);
}

#[needs::programs("redis-server")]
#[test]
fn replicas_that_all_restart_half_open_make_one_probe_in_all_once_the_server_is_back() {
    let Some(server) = RedisServer::start() else { return };
    let open_time = Duration::from_secs(2);
    let after = restarted(&server, open_time, (fail, State::Open), |after| {
        reaches(&[&after[0], &after[1]], State::HalfOpen);
    });
    // From now on, it takes a lease.
    let mut permit = None;
    eventually("a probe is admitted", || {
        permit = after.iter().find_map(|breaker| breaker.try_acquire().ok());
        permit.is_some()
    });
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        let second = after.iter().find_map(|breaker| breaker.try_acquire().ok());
        assert!(second.is_none(), "a second probe");
        std::thread::sleep(Duration::from_millis(10));
    }
    permit.unwrap().success();
    reaches(&[&after[0], &after[1]], State::Closed);
}
