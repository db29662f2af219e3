//! Counts of the fleet: rules over the calls of all replicas.

use std::time::{Duration, Instant};

use tower_breaker::{
    Breaker, BreakerBuilder, Config, Event, State, Trip, Window,
    config::Fault,
    event::Reason,
    fleet::{Agreement, FleetCounts, RedisFleet, RedisFleetBuilder},
};

use crate::{
    replica::{fleet, joined, reaches},
    support::{redis::RedisServer, wait::eventually},
};

const COUNTS: &str = "circuit_breaker:{0}:fleet:payments:counts";
/// Longer than a test takes on a busy machine.
const WINDOW: Window = Window::Time(Duration::from_secs(600));

fn counting(server: &RedisServer) -> RedisFleetBuilder {
    fleet(server).counts(FleetCounts::Shared)
}

fn settings(rule: Trip) -> BreakerBuilder {
    Breaker::builder("payments").trip_on(rule).recovery_timeout(Duration::from_secs(60))
}

fn replica(server: &RedisServer, rule: Trip) -> Breaker {
    replica_of(counting(server).build().unwrap(), rule)
}

fn replica_of(fleet: RedisFleet, rule: Trip) -> Breaker {
    let breaker = settings(rule).shared(fleet).build().unwrap();
    joined(&breaker);
    breaker
}

fn half(minimum_calls: u32) -> Trip {
    Trip::failure_rate(0.5, WINDOW).minimum_calls(minimum_calls)
}

fn fail(breaker: &Breaker, calls: u32) {
    for _ in 0..calls {
        breaker.try_acquire().unwrap().failure();
    }
}

fn succeed(breaker: &Breaker, calls: u32) {
    for _ in 0..calls {
        breaker.try_acquire().unwrap().success();
    }
}

/// The calls that the server has counted, or the bad ones of them.
fn counted(server: &RedisServer, kind: char) -> u64 {
    let fields = server.command(&["HGETALL", COUNTS]);
    let fields: Vec<_> = fields.lines().collect();
    let of_kind = fields.chunks_exact(2).filter(|pair| pair[0].ends_with(&format!(":{kind}")));
    of_kind.map(|pair| pair[1].parse::<u64>().unwrap()).sum()
}

#[track_caller]
fn has_counted(server: &RedisServer, calls: u64) {
    eventually("the calls are counted", || counted(server, 'c') == calls);
}

#[needs::programs("redis-server")]
#[test]
fn twenty_replicas_with_two_failures_each_trip_together() {
    let Some(server) = RedisServer::start() else { return };
    let replicas: Vec<Breaker> = (0..20).map(|_| replica(&server, half(40))).collect();
    let mut events: Vec<_> = replicas.iter().map(Breaker::subscribe).collect();
    for breaker in &replicas {
        fail(breaker, 2);
    }
    reaches(&replicas.iter().collect::<Vec<_>>(), State::Open);
    // At least one has tripped by the calls of all, and says so. The others have taken it over.
    let mut own = 0;
    for event in events.iter_mut().filter_map(|events| events.try_recv().ok()) {
        let Event::Transition(transition) = event else { continue };
        match transition.reason {
            Reason::Fleet => {}
            Reason::FailureRate => {
                assert_eq!(transition.failure_count, 40);
                own += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(own >= 1);
}

#[needs::programs("redis-server")]
#[test]
fn no_call_counts_twice() {
    let Some(server) = RedisServer::start() else { return };
    let (first, second) = (replica(&server, half(20)), replica(&server, half(20)));
    fail(&first, 10);
    has_counted(&server, 10);
    fail(&second, 9);
    has_counted(&server, 19);
    // The answers have arrived once a further command has.
    let views = tokio_test::block_on(first.fleet_views(Duration::from_secs(5))).unwrap();
    assert_eq!(views.len(), 2);
    assert_eq!((first.state(), second.state()), (State::Closed, State::Closed));
    fail(&second, 1);
    reaches(&[&first, &second], State::Open);
}

#[needs::programs("redis-server")]
#[test]
fn successes_of_others_count_too() {
    let Some(server) = RedisServer::start() else { return };
    let (healthy, failing) = (replica(&server, half(40)), replica(&server, half(40)));
    succeed(&healthy, 31);
    has_counted(&server, 31);
    fail(&failing, 30);
    has_counted(&server, 61);
    assert_eq!(counted(&server, 'b'), 30);
    let views = tokio_test::block_on(failing.fleet_views(Duration::from_secs(5))).unwrap();
    assert_eq!(views.len(), 2);
    assert_eq!(failing.state(), State::Closed, "30 of 61 are less than half");
    fail(&failing, 1);
    reaches(&[&healthy, &failing], State::Open);
}

#[needs::programs("redis-server")]
#[test]
fn slow_calls_are_counted_together_too() {
    let Some(server) = RedisServer::start() else { return };
    let slow = Duration::from_secs(5);
    let rule = Trip::slow_call_rate(0.5, slow, WINDOW).minimum_calls(10);
    let (first, second) = (replica(&server, rule), replica(&server, rule));
    let mut events = second.subscribe();
    for (breaker, calls) in [(&first, 5), (&second, 5)] {
        for _ in 0..calls {
            breaker.try_acquire().unwrap().record(tower_breaker::Outcome::Success, 2 * slow);
        }
        eventually("its calls are counted", || counted(&server, 'c') >= 5);
    }
    reaches(&[&first, &second], State::Open);
    let Event::Transition(transition) = events.try_recv().unwrap() else { panic!() };
    let by_all = (Reason::SlowCallRate, 10);
    let is_own = (transition.reason, transition.failure_count) == by_all;
    assert!(is_own || transition.reason == Reason::Fleet, "{transition:?}");
}

#[needs::programs("redis-server")]
#[test]
fn a_state_begins_with_no_counts() {
    let Some(server) = RedisServer::start() else { return };
    let (first, second) = (replica(&server, half(20)), replica(&server, half(20)));
    fail(&first, 19);
    has_counted(&server, 19);
    second.force_open();
    reaches(&[&first], State::ForcedOpen);
    second.reset();
    reaches(&[&first, &second], State::Closed);
    fail(&second, 1);
    has_counted(&server, 1);
    fail(&first, 18);
    has_counted(&server, 19);
    let views = tokio_test::block_on(first.fleet_views(Duration::from_secs(5))).unwrap();
    assert_eq!(views.len(), 2);
    assert_eq!((first.state(), second.state()), (State::Closed, State::Closed));
    fail(&first, 1);
    reaches(&[&first, &second], State::Open);
}

#[needs::programs("redis-server")]
#[test]
fn new_settings_send_nothing_again() {
    let Some(server) = RedisServer::start() else { return };
    let breaker = replica(&server, half(100));
    fail(&breaker, 10);
    has_counted(&server, 10);
    let mut config = (*breaker.config()).clone();
    config.trip_on = vec![half(50)];
    breaker.update(config).unwrap();
    assert_eq!(breaker.stats().window_calls(), 10);
    fail(&breaker, 1);
    has_counted(&server, 11);
}

#[needs::programs("redis-server")]
#[test]
fn without_the_server_own_calls_decide_and_are_not_sent_later() {
    let Some(server) = RedisServer::start() else { return };
    let (first, second) = (replica(&server, half(20)), replica(&server, half(20)));
    server.stop();
    eventually("alone", || first.fleet_health().is_alone() && second.fleet_health().is_alone());
    fail(&first, 19);
    server.restart();
    joined(&first);
    joined(&second);
    fail(&second, 1);
    has_counted(&server, 1);
    assert_eq!((first.state(), second.state()), (State::Closed, State::Closed));
    // Its own window still has them.
    fail(&first, 1);
    assert_eq!(first.state(), State::Open);
    reaches(&[&second], State::Open);
}

/// The key of a closed circuit is evicted before others: it is written rarely.
#[needs::programs("redis-server")]
#[test]
fn replicas_count_together_although_the_key_of_the_circuit_is_gone() {
    let Some(server) = RedisServer::start() else { return };
    let (first, second) = (replica(&server, half(20)), replica(&server, half(20)));
    first.force_open();
    reaches(&[&second], State::ForcedOpen);
    first.reset();
    reaches(&[&second], State::Closed);
    assert_eq!(server.command(&["DEL", "circuit_breaker:{0}:fleet:payments:breaker"]), "1");
    fail(&first, 10);
    has_counted(&server, 10);
    fail(&second, 10);
    reaches(&[&first, &second], State::Open);
}

#[needs::programs("redis-server")]
#[test]
fn so_many_replicas_must_have_seen_it_as_must_agree() {
    let Some(server) = RedisServer::start() else { return };
    let two = || counting(&server).agreement(Agreement::replicas(2)).build().unwrap();
    let (first, second) = (replica_of(two(), half(20)), replica_of(two(), half(20)));
    fail(&first, 10);
    has_counted(&server, 10);
    fail(&second, 10);
    reaches(&[&second], State::Open);
    // The other one has not looked at the sum since.
    assert_eq!(first.state(), State::Closed);
    fail(&first, 1);
    reaches(&[&first], State::Open);
}

#[needs::programs("redis-server")]
#[test]
fn where_replicas_must_agree_the_failures_of_one_open_no_other() {
    let Some(server) = RedisServer::start() else { return };
    let two = || counting(&server).agreement(Agreement::replicas(2)).build().unwrap();
    let (broken, healthy) = (replica_of(two(), half(20)), replica_of(two(), half(20)));
    fail(&broken, 19);
    has_counted(&server, 19);
    fail(&broken, 1);
    assert_eq!(broken.state(), State::Open);
    succeed(&healthy, 4);
    has_counted(&server, 23);
    // One failure of its own is less than its rate.
    fail(&healthy, 1);
    has_counted(&server, 24);
    let views = tokio_test::block_on(healthy.fleet_views(Duration::from_secs(5))).unwrap();
    assert_eq!(views.len(), 2);
    assert_eq!(healthy.state(), State::Closed, "most of the failures are not its own");
    fail(&healthy, 3);
    reaches(&[&healthy, &broken], State::Open);
}

#[needs::programs("redis-server")]
#[test]
fn a_replica_that_has_recovered_alone_does_not_trip_by_what_was_counted_before() {
    let Some(server) = RedisServer::start() else { return };
    let fleet = counting(&server).agreement(Agreement::replicas(2)).build().unwrap();
    let settings = Breaker::builder("payments").trip_on(half(20));
    let breaker =
        settings.recovery_timeout(Duration::from_millis(100)).shared(fleet).build().unwrap();
    joined(&breaker);
    fail(&breaker, 19);
    has_counted(&server, 19);
    fail(&breaker, 1);
    reaches(&[&breaker], State::HalfOpen);
    succeed(&breaker, 1);
    reaches(&[&breaker], State::Closed);
    eventually("what it has counted before is taken back", || counted(&server, 'c') == 0);
    succeed(&breaker, 1);
    has_counted(&server, 1);
    // Alone, it meets the rate; with what was counted before, it would meet the rule.
    fail(&breaker, 1);
    has_counted(&server, 2);
    let views = tokio_test::block_on(breaker.fleet_views(Duration::from_secs(5))).unwrap();
    assert_eq!(views.len(), 1);
    assert_eq!(breaker.state(), State::Closed);
}

#[needs::programs("redis-server")]
#[test]
fn at_rest_nothing_is_sent() {
    let Some(server) = RedisServer::start() else { return };
    let breaker = replica(&server, half(20));
    succeed(&breaker, 5);
    has_counted(&server, 5);
    let scripts = || -> u64 {
        let stats = server.command(&["INFO", "commandstats"]);
        let of = |name: &str| {
            let line = stats.lines().find(|line| line.starts_with(name));
            let calls = line.and_then(|line| line.split(['=', ',']).nth(1));
            calls.map_or(0, |calls| calls.parse::<u64>().unwrap())
        };
        of("cmdstat_evalsha:") + of("cmdstat_eval:")
    };
    let (before, start) = (scripts(), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    let (sent, seconds) = (scripts() - before, start.elapsed().as_secs());
    // A heartbeat each second.
    assert!(sent <= seconds + 2, "{sent} scripts in {seconds} s");
    // And the next call is counted.
    succeed(&breaker, 1);
    has_counted(&server, 6);
}

#[test]
fn rules_that_the_fleet_cannot_count_for_are_refused() {
    let fleet = || RedisFleet::builder("redis://127.0.0.1:1").counts(FleetCounts::Shared);
    let build = |rule| settings(rule).shared(fleet().build().unwrap()).build();
    for rule in [
        Trip::consecutive_failures(3),
        Trip::failure_rate(0.5, Window::Calls(10)),
        Trip::slow_call_rate(0.5, Duration::from_secs(1), Window::Calls(10)),
    ] {
        let error = build(rule).unwrap_err().to_string();
        assert!(error.contains("trip_on[0]"), "{error}");
        assert!(error.contains("must be a rate over a time window"), "{error}");
    }
    let breaker = build(half(20)).unwrap();
    let error = breaker.update(Config::default()).unwrap_err().to_string();
    assert!(error.contains("must be a rate over a time window"), "{error}");
    assert_eq!(breaker.config().trip_on, [half(20)]);
    let mut faulty = Config::default();
    faulty.recovery_timeout = Duration::ZERO;
    let error = breaker.update(faulty).unwrap_err();
    let paths: Vec<_> = error.faults().iter().map(Fault::path).collect();
    assert_eq!(paths, ["recovery_timeout", "trip_on[0]"], "every fault is in one error");
}
