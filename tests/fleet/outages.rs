//! A server that is gone, stands still, or has forgotten everything.

use std::time::{Duration, Instant};

use tower_breaker::{
    Breaker, State,
    fleet::{Agreement, FleetHealth, RedisFleet, RedisFleetBuilder},
};

use crate::{
    proxy::Proxy,
    replica::{fail, fleet, joined, probe, reaches, replica, settings},
    support::{log::Log, redis::RedisServer, wait::eventually},
};

#[needs::programs("redis-server")]
#[test]
fn without_a_server_a_replica_decides_alone_and_joins_once_there_is_one() {
    let Some(server) = RedisServer::start() else { return };
    server.stop();
    let alone = settings("payments").shared(fleet(&server).build().unwrap()).build().unwrap();
    assert!(alone.fleet_health().is_alone());
    fail(&alone);
    assert_eq!(alone.state(), State::Open);
    reaches(&[&alone], State::HalfOpen);
    probe(&alone);
    assert_eq!(alone.state(), State::Closed);

    server.restart();
    joined(&alone);
    let other = replica(&server, "payments");
    fail(&alone);
    reaches(&[&other], State::Open);
}

#[needs::programs("redis-server")]
#[test]
fn a_state_by_hand_outlasts_what_a_replica_decides_without_the_others() {
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::to(&server);
    let alone = RedisFleet::builder(&proxy.url()).build().unwrap();
    let alone = settings("payments").shared(alone).build().unwrap();
    joined(&alone);
    let other = replica(&server, "payments");
    other.force_open();
    reaches(&[&alone], State::ForcedOpen);
    proxy.cut();
    eventually("it is alone", || alone.fleet_health().is_alone());
    // It trips and recovers after a reset that the others do not learn of.
    alone.reset();
    fail(&alone);
    reaches(&[&alone], State::HalfOpen);
    probe(&alone);
    reaches(&[&alone], State::Closed);
    proxy.heal();
    joined(&alone);
    reaches(&[&alone], State::ForcedOpen);
    other.reset();
    reaches(&[&alone, &other], State::Closed);
}

#[needs::programs("redis-server")]
#[test]
fn a_server_that_comes_back_empty_gets_the_states_of_the_fleet() {
    let Some(server) = RedisServer::start() else { return };
    let (first, second) = (replica(&server, "payments"), replica(&server, "payments"));
    first.force_open();
    reaches(&[&second], State::ForcedOpen);
    assert_eq!(server.command(&["FLUSHALL"]), "OK");
    eventually("the state is there again", || {
        server.command(&["HGET", "circuit_breaker:{0}:fleet:payments:breaker", "s"])
            == "forced_open"
    });
    assert_eq!((first.state(), second.state()), (State::ForcedOpen, State::ForcedOpen));
    let third = replica(&server, "payments");
    reaches(&[&third], State::ForcedOpen);
    third.reset();
    reaches(&[&first, &second], State::Closed);
}

/// One that evicts keys takes that of a closed circuit before others: it is written rarely.
#[needs::programs("redis-server")]
#[test]
fn the_next_state_of_a_circuit_whose_key_the_server_has_evicted_reaches_all() {
    const KEY: &str = "circuit_breaker:{0}:fleet:payments:breaker";
    for by_hand in [false, true] {
        let Some(server) = RedisServer::start() else { return };
        let (first, second) = (replica(&server, "payments"), replica(&server, "payments"));
        fail(&first);
        reaches(&[&first, &second], State::HalfOpen);
        probe(&first);
        reaches(&[&first, &second], State::Closed);
        assert_eq!(server.command(&["DEL", KEY]), "1");
        let third = replica(&server, "payments");
        if by_hand {
            third.force_open();
            reaches(&[&first, &second], State::ForcedOpen);
        } else {
            fail(&third);
            reaches(&[&first, &second], State::Open);
        }
    }
}

#[needs::programs("redis-server")]
#[test]
fn a_vote_that_the_server_has_forgotten_is_cast_again() {
    let Some(server) = RedisServer::start() else { return };
    let voting = || {
        let fleet = fleet(&server).agreement(Agreement::replicas(2)).build().unwrap();
        let builder = settings("payments").recovery_timeout(Duration::from_secs(60));
        let breaker = builder.shared(fleet).build().unwrap();
        joined(&breaker);
        breaker
    };
    let votes = || {
        let fields = server.command(&["HKEYS", "circuit_breaker:{0}:fleet:payments:breaker"]);
        fields.lines().filter(|field| field.starts_with("v:")).count()
    };
    let (first, second) = (voting(), voting());
    fail(&first);
    eventually("its vote is counted", || votes() == 1);
    assert_eq!(server.command(&["FLUSHALL"]), "OK");
    eventually("its vote is counted again", || votes() == 1);
    assert_eq!(second.state(), State::Closed);
    fail(&second);
    let is_of_the_fleet = |breaker: &tower_breaker::Breaker| {
        let views = tokio_test::block_on(breaker.fleet_views(Duration::from_secs(5))).unwrap();
        let mut views = views.iter().filter_map(|one| one.view.as_ref());
        views.all(|view| view.state == State::Open && !view.is_own)
    };
    eventually("both have agreed", || is_of_the_fleet(&first));
}

#[needs::programs("redis-server")]
#[test]
fn a_restarted_server_gets_the_states_too_and_news_continue() {
    let Some(server) = RedisServer::start() else { return };
    let (first, second) = (replica(&server, "payments"), replica(&server, "payments"));
    first.disable();
    reaches(&[&second], State::Disabled);
    server.stop();
    eventually("alone", || first.fleet_health().is_alone() && second.fleet_health().is_alone());
    // By hand, while the server is away: it holds here, and for all once it is back.
    second.force_open();
    server.restart();
    joined(&first);
    joined(&second);
    reaches(&[&first, &second], State::ForcedOpen);
    first.reset();
    reaches(&[&second], State::Closed);
}

#[needs::programs("redis-server")]
#[test]
fn a_server_that_stands_still_delays_no_call_and_the_fleet_agrees_afterwards() {
    let Some(server) = RedisServer::start() else { return };
    let (first, second) = (replica(&server, "payments"), replica(&server, "payments"));
    server.signal("STOP");
    fail(&first);
    assert_eq!(first.state(), State::Open);
    assert_eq!(second.state(), State::Closed);
    eventually("alone", || first.fleet_health().is_alone() && second.fleet_health().is_alone());
    // It recovers alone, while its vote is still on the way.
    reaches(&[&first], State::HalfOpen);
    probe(&first);
    assert_eq!(first.state(), State::Closed);
    server.signal("CONT");
    joined(&first);
    joined(&second);
    // The vote came too late to say anything.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((first.state(), second.state()), (State::Closed, State::Closed));
    fail(&second);
    reaches(&[&first], State::Open);
}

#[needs::programs("redis-server")]
#[test]
fn a_replica_that_recovers_alone_closes_the_circuit_of_all_once_the_server_is_back() {
    let Some(server) = RedisServer::start() else { return };
    let (first, idle) = (replica(&server, "payments"), replica(&server, "payments"));
    fail(&first);
    reaches(&[&idle], State::Open);
    server.signal("STOP");
    eventually("alone", || first.fleet_health().is_alone() && idle.fleet_health().is_alone());
    reaches(&[&first, &idle], State::HalfOpen);
    probe(&first);
    assert_eq!(first.state(), State::Closed);
    server.signal("CONT");
    joined(&first);
    reaches(&[&idle], State::Closed);
    assert_eq!(first.state(), State::Closed);
}

#[needs::programs("redis-server")]
#[test]
fn a_replica_that_is_gone_delays_the_recovery_by_its_lease_at_most() {
    let Some(server) = RedisServer::start() else { return };
    let (first, second) = (replica(&server, "payments"), replica(&server, "payments"));
    fail(&first);
    reaches(&[&first, &second], State::HalfOpen);
    let mut probe_out = None;
    eventually("a probe is admitted", || {
        probe_out = first.try_acquire().ok();
        probe_out.is_some()
    });
    // Gone with its probe: the lease goes back at once; a killed process lets it expire.
    drop(first);
    probe(&second);
    reaches(&[&second], State::Closed);
    drop(probe_out);
}

#[needs::programs("redis-server")]
#[test]
fn both_sides_of_a_partition_decide_alone_and_agree_afterwards() {
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::to(&server);
    let first = replica(&server, "payments");
    let fleet = RedisFleet::open(&proxy.url()).unwrap();
    let second = settings("payments").shared(fleet).build().unwrap();
    joined(&second);
    proxy.cut();
    eventually("alone", || second.fleet_health().is_alone());
    first.force_open();
    assert_eq!(second.state(), State::Closed);
    proxy.heal();
    reaches(&[&second], State::ForcedOpen);

    // The other way round: what the one that was cut off decided, all learn.
    proxy.cut();
    eventually("alone", || second.fleet_health().is_alone());
    second.reset();
    assert_eq!(first.state(), State::ForcedOpen);
    proxy.heal();
    reaches(&[&first, &second], State::Closed);
    joined(&second);
}

#[needs::programs("redis-server")]
#[test]
fn a_broken_key_leaves_out_its_own_breaker_alone_until_it_is_deleted() {
    const KEY: &str = "circuit_breaker:{0}:fleet:broken:breaker";
    let Some(server) = RedisServer::start() else { return };
    let log = Log::default();
    tracing::subscriber::set_global_default(log.subscriber()).unwrap();
    server.command(&["SET", KEY, "no hash"]);
    let fleet = fleet(&server).build().unwrap();
    let build = |name| settings(name).shared(fleet.clone()).build().unwrap();
    let (broken, payments) = (build("broken"), build("payments"));
    let other = replica(&server, "payments");
    joined(&payments);
    fail(&broken);
    fail(&payments);
    reaches(&[&other], State::Open);
    // It decides alone, and says why.
    assert_eq!(broken.state(), State::Open);
    let health = broken.fleet_health().to_string();
    assert!(health.contains("its key in Redis is broken"), "{health}");
    assert!(health.contains("WRONGTYPE"), "{health}");
    assert_eq!(payments.fleet_health(), FleetHealth::Joined);
    assert_eq!(fleet.health(), FleetHealth::Joined);
    reaches(&[&broken], State::HalfOpen);
    probe(&broken);
    assert_eq!(broken.state(), State::Closed);

    // All states are asked for at once.
    server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    other.force_open();
    reaches(&[&payments], State::ForcedOpen);
    joined(&payments);
    assert_eq!(log.lines_with(r#"breaker "broken" in the fleet's Redis"#), 1, "{}", log.text());

    server.command(&["DEL", KEY]);
    broken.force_open();
    reaches(&[&replica(&server, "broken")], State::ForcedOpen);
    joined(&broken);
}

#[needs::programs("redis-server")]
#[test]
fn calls_take_as_long_while_the_server_stands_still() {
    compare_calls(Duration::from_secs(1), Duration::from_secs(3));
}

#[test]
#[ignore = "takes half a minute"]
fn calls_take_as_long_while_the_server_stands_still_for_ten_seconds() {
    compare_calls(Duration::from_secs(10), Duration::from_secs(10));
}

/// Compares the calls of a replica with those while the server stands still.
fn compare_calls(with: Duration, without: Duration) {
    let Some(server) = RedisServer::start() else { return };
    let (breaker, other) = (replica(&server, "payments"), replica(&server, "payments"));
    let before = percentiles(&breaker, with);
    server.signal("STOP");
    let during = percentiles(&breaker, without);
    server.signal("CONT");
    let returned = Instant::now();
    println!("median and 99th percentile of a call: {before:?}, and {during:?} without the server");
    let limit = 5 * before.1 + Duration::from_millis(5);
    assert!(during.1 < limit, "{during:?}, with the server {before:?}");
    joined(&breaker);
    joined(&other);
    println!("joined again {:?} after its return", returned.elapsed());
    breaker.force_open();
    reaches(&[&other], State::ForcedOpen);
}

/// The times of calls, some of which fail: the median and the 99th percentile.
fn percentiles(breaker: &Breaker, time: Duration) -> (Duration, Duration) {
    let until = Instant::now() + time;
    let mut times = Vec::new();
    while Instant::now() < until {
        for _ in 0..100 {
            let start = Instant::now();
            match breaker.try_acquire() {
                Ok(permit) if fastrand::u8(..) < 200 => permit.success(),
                Ok(permit) => permit.failure(),
                Err(_) => {}
            }
            times.push(start.elapsed());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    times.sort();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

#[test]
fn an_invalid_setting_is_refused() {
    let error = |fleet: RedisFleetBuilder| fleet.build().unwrap_err().to_string();
    assert!(error(RedisFleet::builder("http://a:secret@b")).contains("URL of Redis is invalid"));
    let builder = || RedisFleet::builder("redis://localhost");
    // Each names the setting, the bound, and the value.
    for (builder, says) in [
        (builder().lease(Duration::from_millis(99)), "`lease` must be at least 100ms, is 99ms"),
        (builder().replica_id(""), "`replica_id` must be 1 to 128 bytes long, is 0"),
        (builder().replica_id("a".repeat(129)), "`replica_id` must be 1 to 128 bytes long, is 129"),
        (builder().prefix("a{b}\n"), r#"`prefix` must not contain `{` or `}`, is "a{b}\n""#),
        (builder().prefix(""), "`prefix` must not be empty"),
        (builder().shards(0), "`shards` must be 1 to 1000, is 0"),
    ] {
        let error = error(builder);
        assert!(error.ends_with(says) && error.contains("fleet"), "{error}");
    }
    assert!(error(builder().command_timeout(Duration::ZERO)).contains("timeout"));
    let breaker = settings("payments").build().unwrap();
    assert_eq!(breaker.fleet_health(), FleetHealth::NotShared);
}
