//! Registries and groups whose breakers are those of a fleet.

use std::time::{Duration, Instant};

use tower_breaker::{
    Breaker, Config, KeyedBreakers, Registry, State, Trip, Window,
    config::{ConfigFile, Fault},
    fleet::{FleetCounts, FleetHealth, RedisFleet},
    registry::{KeyedBreakersBuilder, WhenFull},
};

use crate::{
    replica::{OPEN_TIME, fail, fleet, joined, probe, reaches, settings},
    support::{redis::RedisServer, wait::eventually},
};

/// Open for longer than a test takes.
const LONG: Duration = Duration::from_secs(600);

fn config(open_time: Duration) -> Config {
    let mut config = Config::default();
    config.trip_on = vec![Trip::consecutive_failures(3)];
    config.recovery_timeout = open_time;
    config
}

fn registry(server: &RedisServer, open_time: Duration) -> Registry {
    let fleet = fleet(server).build().unwrap();
    Registry::builder().defaults(config(open_time)).shared(fleet).build().unwrap()
}

fn group(server: &RedisServer) -> KeyedBreakersBuilder {
    let fleet = fleet(server).build().unwrap();
    KeyedBreakers::builder("hosts").config(config(LONG)).shared(fleet)
}

#[needs::programs("redis-server")]
#[test]
fn the_breakers_of_registries_trip_and_recover_together() {
    let Some(server) = RedisServer::start() else { return };
    let replicas = [(); 2].map(|()| registry(&server, OPEN_TIME));
    let [first, second] = replicas.each_ref().map(|one| one.get_or_create("payments").unwrap());
    let other = replicas[1].get_or_create("search").unwrap();
    [&first, &second].into_iter().for_each(joined);
    fail(&first);
    assert!(first.try_acquire().is_err());
    reaches(&[&first, &second], State::HalfOpen);
    probe(&second);
    reaches(&[&first, &second], State::Closed);
    assert_eq!(other.state(), State::Closed);
}

#[needs::programs("redis-server")]
#[test]
fn the_first_call_of_a_registrys_breaker_meets_the_state_of_the_fleet() {
    let Some(server) = RedisServer::start() else { return };
    let first = registry(&server, LONG).get_or_create("payments").unwrap();
    joined(&first);
    fail(&first);
    let key = "circuit_breaker:{0}:fleet:payments:breaker";
    eventually("the server knows", || server.command(&["HGET", key, "s"]) == "open");
    // A busy machine may need more than the second for which a build waits.
    eventually("at once", || {
        let registry = registry(&server, LONG);
        // All who ask for it at once wait for it.
        let states: Vec<State> = std::thread::scope(|scope| {
            let ask = || registry.get_or_create("payments").unwrap().state();
            let asking = [(); 4].map(|()| scope.spawn(ask));
            asking.into_iter().map(|one| one.join().unwrap()).collect()
        });
        states == [State::Open; 4]
    });
}

#[test]
fn a_registry_refuses_settings_that_its_fleet_cannot_count_by() {
    // It connects to no server.
    let fleet = RedisFleet::builder("redis://127.0.0.1:1");
    let fleet = fleet.counts(FleetCounts::Shared).build().unwrap();
    let timed = Trip::failure_rate(0.5, Window::time(LONG));
    let mut counted = Config::default();
    counted.trip_on = vec![timed];
    let builder = || Registry::builder().shared(fleet.clone()).defaults(counted.clone());
    let error = builder().breaker("payments", config(LONG)).build().unwrap_err();
    assert_eq!(error.faults()[0].path(), "breakers.payments.trip_on[0]");
    let error = Registry::builder().shared(fleet.clone()).build().unwrap_err();
    assert_eq!(error.faults()[0].path(), "defaults.trip_on[0]");

    let registry = builder().build().unwrap();
    let file = ConfigFile::from_json(r#"{"defaults": {"recovery_timeout": "7s"}}"#).unwrap();
    let error = registry.reload(&file).unwrap_err();
    assert_eq!(error.faults()[0].path(), "defaults.trip_on[0]");
    let breaker = registry.get_or_create("payments").unwrap();
    assert_eq!(*breaker.config(), counted, "nothing has changed");

    let group = || KeyedBreakers::builder("hosts").shared(fleet.clone());
    assert_eq!(group().build().unwrap_err().faults()[0].path(), "trip_on[0]");
    let hosts = group().config(counted.clone()).build().unwrap();
    assert_eq!(hosts.update(config(LONG)).unwrap_err().faults()[0].path(), "trip_on[0]");
    let mut faulty = config(LONG);
    faulty.recovery_timeout = Duration::ZERO;
    let error = hosts.update(faulty).unwrap_err();
    let paths: Vec<_> = error.faults().iter().map(Fault::path).collect();
    assert_eq!(paths, ["recovery_timeout", "trip_on[0]"], "every fault is in one error");
    assert_eq!(*hosts.config(), counted);
}

#[needs::programs("redis-server")]
#[test]
fn the_breakers_of_a_key_trip_together_also_where_the_key_has_not_failed() {
    let Some(server) = RedisServer::start() else { return };
    let replicas = [(); 2].map(|()| group(&server).build().unwrap());
    let find = |group: &KeyedBreakers, key: &str| group.get_or_create(key).unwrap();
    let [first, second] = replicas.each_ref().map(|group| find(group, "a:80"));
    let other = find(&replicas[1], "b");
    [&first, &second, &other].into_iter().for_each(joined);
    fail(&first);
    reaches(&[&second], State::Open);
    assert_eq!(other.state(), State::Closed);
    // One that comes later, by its name.
    let alone = settings("hosts:a%3A80").shared(fleet(&server).build().unwrap()).build().unwrap();
    reaches(&[&alone], State::Open);
    second.reset();
    reaches(&[&first, &alone], State::Closed);
}

#[needs::programs("redis-server")]
#[test]
fn neither_a_group_nor_its_keys_wait_for_the_server() {
    const KEYS: u32 = 20;
    let Some(server) = RedisServer::start() else { return };
    // Until the end of the test, the fleet tries to reach the server.
    let patient = fleet(&server).command_timeout(LONG).connect_timeout(LONG).build().unwrap();
    server.signal("STOP");
    let began = Instant::now();
    let hosts = group(&server).shared(patient).build().unwrap();
    let breakers: Vec<Breaker> =
        (0..KEYS).map(|key| hosts.get_or_create(&key.to_string()).unwrap()).collect();
    // A single breaker waits a second for its fleet.
    assert!(began.elapsed() < Duration::from_secs(KEYS.into()) / 2);
    server.signal("CONT");
    breakers.iter().for_each(joined);
}

#[needs::programs("redis-server")]
#[test]
fn a_breaker_that_is_replaced_leaves_the_fleet() {
    let Some(server) = RedisServer::start() else { return };
    let hosts = group(&server).max_breakers(1).build().unwrap();
    let other = group(&server).build().unwrap();
    let replaced = hosts.get_or_create("a").unwrap();
    joined(&replaced);
    let kept = eventually_created(&hosts, "b");
    let [a, b] = ["a", "b"].map(|key| other.get_or_create(key).unwrap());
    [&kept, &a, &b].into_iter().for_each(joined);
    a.force_open();
    b.force_open();
    // News come in their order.
    reaches(&[&kept], State::ForcedOpen);
    assert_eq!(replaced.state(), State::Closed);
    fail(&replaced);
    assert_eq!(replaced.state(), State::Open, "it decides alone");
}

/// The breaker of a key, once it could replace the one of another key.
fn eventually_created(hosts: &KeyedBreakers, key: &str) -> Breaker {
    let mut breaker = None;
    eventually("another one is replaced", || {
        breaker = hosts.get_or_create(key);
        breaker.is_some()
    });
    breaker.unwrap()
}

#[needs::programs("redis-server")]
#[test]
fn what_keys_without_room_share_is_no_part_of_the_fleet() {
    let Some(server) = RedisServer::start() else { return };
    let hosts = group(&server).max_breakers(1).when_full(WhenFull::Share);
    let hosts = hosts.build().unwrap();
    hosts.get_or_create("a").unwrap().force_open();
    let shared = hosts.get_or_create("b").unwrap();
    assert_eq!(shared.name(), "hosts");
    assert_eq!(shared.fleet_health(), FleetHealth::NotShared);
}
