//! A change on one replica reaches all.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant, SystemTime},
};

use tower::Service;
use tower_breaker::{
    BoxError, CircuitBreaker, State, Trip, config::Backoff, event::Reason, fleet::Agreement,
};

use crate::{
    replica::{OPEN_TIME, fail, fleet, joined, probe, reaches, replica, settings},
    support::{redis::RedisServer, wait::eventually},
};

#[needs::programs("redis-server")]
#[test]
fn a_trip_on_one_opens_all_and_one_probe_closes_all() {
    let Some(server) = RedisServer::start() else { return };
    let replicas = [(); 3].map(|()| replica(&server, "payments"));
    let [first, second, third] = &replicas;
    fail(first);
    let tripped = Instant::now();
    assert_eq!(first.state(), State::Open);
    reaches(&[second, third], State::Open);
    println!("open on all after {:?}", tripped.elapsed());
    assert!(second.try_acquire().is_err() && third.try_acquire().is_err());

    reaches(&[first, second, third], State::HalfOpen);
    probe(second);
    reaches(&[first, second, third], State::Closed);
}

#[needs::programs("redis-server")]
#[test]
fn a_failed_probe_opens_all_again_with_the_next_step_of_the_backoff() {
    let Some(server) = RedisServer::start() else { return };
    let build = || {
        let builder = settings("payments").backoff(Backoff::new(4.0, Duration::from_secs(60)));
        let breaker = builder.shared(fleet(&server).build().unwrap()).build().unwrap();
        joined(&breaker);
        breaker
    };
    let (first, second) = (build(), build());
    fail(&first);
    reaches(&[&first, &second], State::HalfOpen);
    eventually("a probe fails", || match second.try_acquire() {
        Ok(permit) => {
            permit.failure();
            true
        }
        Err(_) => false,
    });
    assert_eq!(second.state(), State::Open);
    reaches(&[&first], State::Open);
    assert_eq!(first.stats().consecutive_opens(), 2);
    let left = first.try_acquire().unwrap_err().retry_after().unwrap();
    assert!(left > Duration::from_secs(1), "{left:?}");
}

/// Counts how often it is asked whether it is ready.
struct Inner(Arc<AtomicU32>);

impl Service<()> for Inner {
    type Response = ();
    type Error = BoxError;
    type Future = std::future::Ready<Result<(), BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.fetch_add(1, SeqCst);
        Poll::Pending
    }

    fn call(&mut self, (): ()) -> Self::Future {
        std::future::ready(Ok(()))
    }
}

#[needs::programs("redis-server")]
#[test]
fn the_inner_service_is_not_asked_while_the_open_circuit_notes_calls() {
    let Some(server) = RedisServer::start() else { return };
    let breaker = replica(&server, "payments");
    fail(&breaker);
    eventually("the state is that of the fleet", || {
        server.command(&["EXISTS", "circuit_breaker:{0}:fleet:payments:breaker"]) == "1"
    });
    let asked = Arc::default();
    let mut service = CircuitBreaker::new(Inner(Arc::clone(&asked)), breaker.clone());
    eventually("the open time is nearly over", || {
        let is_nearly_over = breaker
            .snapshot()
            .open_until
            .is_none_or(|until| until < SystemTime::now() + Duration::from_millis(100));
        if !is_nearly_over {
            let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
            // It was open before, and may not be any more if the machine is busy.
            assert!(ready.is_ready() || breaker.state() != State::Open);
        }
        is_nearly_over
    });
    assert!(asked.load(SeqCst) == 0 || breaker.state() != State::Open);
}

#[needs::programs("redis-server")]
#[test]
fn two_replicas_must_agree_if_so_configured() {
    let Some(server) = RedisServer::start() else { return };
    let replicas = [(); 3].map(|()| {
        let fleet = fleet(&server).agreement(Agreement::replicas(2)).build().unwrap();
        // A vote lasts for the open time.
        let builder = settings("payments").recovery_timeout(Duration::from_secs(60));
        let breaker = builder.shared(fleet).build().unwrap();
        joined(&breaker);
        breaker
    });
    let [cut_off, second, third] = &replicas;
    fail(cut_off);
    assert_eq!(cut_off.state(), State::Open);
    // The vote has arrived once this replica's own reset is known to all.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!((second.state(), third.state()), (State::Closed, State::Closed));
    second.try_acquire().unwrap().success();

    fail(second);
    reaches(&[cut_off, second, third], State::Open);
}

#[needs::programs("redis-server")]
#[test]
fn states_set_by_hand_and_a_reset_hold_for_all() {
    let Some(server) = RedisServer::start() else { return };
    let (first, second) = (replica(&server, "payments"), replica(&server, "payments"));
    let mut events = second.subscribe();
    first.force_open();
    reaches(&[&second], State::ForcedOpen);
    let tower_breaker::Event::Transition(transition) = events.try_recv().unwrap() else { panic!() };
    assert_eq!(transition.reason, Reason::Fleet);
    second.disable();
    reaches(&[&first], State::Disabled);
    first.reset();
    reaches(&[&second], State::Closed);
    second.force_open_for(OPEN_TIME);
    reaches(&[&first], State::ForcedOpen);
    reaches(&[&first, &second], State::Closed);
}

#[needs::programs("redis-server")]
#[test]
fn a_replica_that_starts_meets_the_state_of_the_fleet_at_its_first_call() {
    let Some(server) = RedisServer::start() else { return };
    let build = || {
        let builder = settings("payments").recovery_timeout(Duration::from_secs(60));
        builder.shared(fleet(&server).build().unwrap()).build().unwrap()
    };
    let first = build();
    joined(&first);
    fail(&first);
    eventually("the change reaches the fleet", || {
        server.command(&["EXISTS", "circuit_breaker:{0}:fleet:payments:breaker"]) == "1"
    });
    let second = build();
    assert_eq!(second.state(), State::Open);
    let left = second.try_acquire().unwrap_err().retry_after().unwrap();
    assert!(left > Duration::from_secs(30) && left <= Duration::from_secs(60), "{left:?}");
}

#[needs::programs("redis-server")]
#[test]
fn breakers_of_other_names_are_left_alone() {
    let Some(server) = RedisServer::start() else { return };
    let (payments, mail) = (replica(&server, "payments{0}"), replica(&server, "mail"));
    let other = replica(&server, "payments{0}");
    fail(&payments);
    reaches(&[&other], State::Open);
    assert_eq!(mail.state(), State::Closed);
}

#[needs::programs("redis-server")]
#[test]
fn news_that_follow_closely_are_read_together() {
    const BREAKERS: usize = 40;
    let Some(server) = RedisServer::start() else { return };
    let build = || {
        let fleet = fleet(&server).build().unwrap();
        let name = |number| settings(&format!("breaker-{number}"));
        let build = |number| name(number).shared(fleet.clone()).build().unwrap();
        (0..BREAKERS).map(build).collect::<Vec<_>>()
    };
    let (first, second) = (build(), build());
    second.iter().for_each(joined);
    let reads = || {
        let info = server.command(&["INFO", "commandstats"]);
        let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_xread:calls="));
        line.map_or(0, |line| line.split(',').next().unwrap().parse::<usize>().unwrap())
    };
    let before = reads();
    for breaker in &first {
        breaker.force_open();
        std::thread::sleep(Duration::from_millis(5));
    }
    reaches(&second.iter().collect::<Vec<_>>(), State::ForcedOpen);
    let reads = reads() - before;
    println!("{reads} reads of {BREAKERS} news by two replicas");
    assert!(reads < BREAKERS, "{reads} reads");
}

#[needs::programs("redis-server")]
#[test]
fn news_do_not_wait_until_thousands_of_trips_are_sent() {
    const BREAKERS: usize = 8000;
    let Some(server) = RedisServer::start() else { return };
    let patient = || fleet(&server).command_timeout(Duration::from_secs(60)).build().unwrap();
    let fleet = patient();
    let long = |name: &str| settings(name).recovery_timeout(Duration::from_secs(600));
    let build = |name: &str| long(name).shared(fleet.clone()).build().unwrap();
    let many: Vec<_> = (0..BREAKERS).map(|number| build(&format!("breaker-{number}"))).collect();
    let watched = build("payments");
    let other = long("payments").shared(patient()).build().unwrap();
    [&watched, &other].into_iter().for_each(joined);
    // So that all trips wait to be sent when the first answer comes.
    server.signal("STOP");
    many.iter().for_each(fail);
    server.signal("CONT");
    let sent = || server.command(&["DBSIZE"]).parse::<usize>().unwrap();
    eventually("trips reach the server", || sent() > 50);
    other.force_open();
    reaches(&[&watched], State::ForcedOpen);
    let sent = sent();
    println!("{sent} keys when the news had come");
    assert!(sent < BREAKERS / 2, "{sent}");
    let last = "circuit_breaker:{0}:fleet:breaker-7999:breaker";
    eventually("all trips reach the server", || server.command(&["HGET", last, "s"]) == "open");
}

#[needs::programs("redis-server")]
#[test]
fn a_healthy_breaker_costs_no_key() {
    let Some(server) = RedisServer::start() else { return };
    let breaker = replica(&server, "payments");
    for _ in 0..100 {
        breaker.try_acquire().unwrap().success();
    }
    assert_eq!(server.command(&["KEYS", "*payments:breaker"]), "");
    assert_eq!(breaker.config().trip_on, [Trip::consecutive_failures(3)]);
}

#[needs::programs("redis-server")]
#[test]
fn a_restored_opening_enters_an_empty_fleet_and_yields_to_a_state_of_the_fleet() {
    let Some(server) = RedisServer::start() else { return };
    let long = || settings("payments").recovery_timeout(Duration::from_secs(60));
    let alone = long().build().unwrap();
    fail(&alone);
    let snapshot = alone.snapshot();
    let build = || {
        let breaker = long().restore(snapshot.clone()).shared(fleet(&server).build().unwrap());
        let breaker = breaker.build().unwrap();
        joined(&breaker);
        breaker
    };
    let first = build();
    let second = replica(&server, "payments");
    reaches(&[&first, &second], State::Open);
    second.reset();
    reaches(&[&first, &second], State::Closed);

    let third = build();
    reaches(&[&third], State::Closed);
    assert_eq!((first.state(), second.state()), (State::Closed, State::Closed));
}
