//! Who is there, and what each replica says about a breaker.

use std::{
    sync::mpsc,
    time::{Duration, Instant, SystemTime},
};

use tower_breaker::{
    Breaker, Event, State,
    event::{Reason, Transition},
    fleet::{Agreement, BreakerView, FleetError, FleetReplica, FleetView, RedisFleet},
};

use crate::{
    proxy::Proxy,
    replica::{fail, fleet, joined, reaches, settings},
    support::{
        redis::RedisServer,
        wait::{MINUTE, eventually},
    },
};

const REPLICAS: &str = "circuit_breaker:{0}:fleet:replicas";
/// Longer than the answers take on a busy machine; no test waits that long for those that come.
const WAIT: Duration = Duration::from_secs(5);

fn named(server: &RedisServer, id: &str) -> RedisFleet {
    let builder = fleet(server).agreement(Agreement::replicas(2));
    builder.replica_id(id).build().unwrap()
}

fn replica(fleet: &RedisFleet, name: &str) -> Breaker {
    let open_time = Duration::from_secs(60);
    let breaker = settings(name).recovery_timeout(open_time).shared(fleet.clone()).build().unwrap();
    joined(&breaker);
    breaker
}

#[track_caller]
fn listed(fleet: &RedisFleet) -> Vec<FleetReplica> {
    tokio_test::block_on(fleet.replicas()).unwrap()
}

fn ids(replicas: &[FleetReplica]) -> Vec<&str> {
    replicas.iter().map(|replica| &*replica.id).collect()
}

#[track_caller]
fn views(breaker: &Breaker) -> Vec<FleetView> {
    tokio_test::block_on(breaker.fleet_views(WAIT)).unwrap()
}

fn view_of<'a>(views: &'a [FleetView], id: &str) -> &'a BreakerView {
    let found = views.iter().find(|view| view.replica.id == id);
    found.and_then(|found| found.view.as_ref()).unwrap_or_else(|| panic!("{id}: {views:?}"))
}

#[needs::programs("redis-server")]
#[test]
fn replicas_are_listed_while_they_are_there() {
    let Some(server) = RedisServer::start() else { return };
    let (first, second) = (named(&server, "a"), named(&server, "b"));
    let (breaker, other) = (replica(&first, "payments"), replica(&second, "payments"));
    let replicas = listed(&first);
    assert_eq!(ids(&replicas), ["a", "b"]);
    for replica in &replicas {
        assert!(replica.is_present);
        let ago = SystemTime::now().duration_since(replica.last_seen).unwrap_or_default();
        assert!(ago < MINUTE, "{ago:?}");
    }
    assert_eq!(first.replica_id(), "a");
    // One that ends says so.
    drop((other, second));
    eventually("the other has left", || ids(&listed(&first)) == ["a"]);
    // A server that has forgotten everything knows it again.
    server.command(&["FLUSHALL"]);
    eventually("it is there again", || ids(&listed(&first)) == ["a"]);
    drop(breaker);
}

#[needs::programs("redis-server")]
#[test]
fn replicas_that_are_gone_are_listed_as_such_and_then_no_more() {
    let Some(server) = RedisServer::start() else { return };
    let fleet = named(&server, "a");
    let _breaker = replica(&fleet, "payments");
    let seconds: u64 = server.command(&["TIME"]).lines().next().unwrap().parse().unwrap();
    let add = |seconds: u64, id| {
        server.command(&["ZADD", REPLICAS, &(seconds * 1_000_000).to_string(), id]);
    };
    add(seconds - 60, "killed");
    add(seconds - 3600, "long ago");
    // As if the clock had gone back since.
    add(seconds + 3600, "ahead");
    eventually("two are removed", || ids(&listed(&fleet)) == ["a", "killed"]);
    let [_, killed] = &listed(&fleet)[..] else { panic!() };
    assert!(!killed.is_present);
    let ago = SystemTime::now().duration_since(killed.last_seen).unwrap();
    assert!(ago >= Duration::from_secs(59), "{ago:?}");
}

#[needs::programs("redis-server")]
#[test]
fn each_replica_says_how_it_sees_a_breaker() {
    let Some(server) = RedisServer::start() else { return };
    let fleets = ["a", "b", "c"].map(|id| named(&server, id));
    let [first, second, elsewhere] = &fleets;
    let (first, second) = (replica(first, "payments"), replica(second, "payments"));
    let _mail = replica(elsewhere, "mail");
    let before = SystemTime::now();
    fail(&first);
    second.try_acquire().unwrap().failure();
    let all = views(&second);
    // It has no breaker of that name, so it is not among them.
    assert_eq!(all.len(), 2, "{all:?}");
    let view = view_of(&all, "a");
    assert_eq!((view.state, view.is_own), (State::Open, true));
    assert_eq!(view.reason, Some(Reason::ConsecutiveFailures));
    let since = view.since.unwrap();
    let slack = Duration::from_millis(500);
    assert!(since + slack >= before, "{since:?}");
    let left = view.until.unwrap().duration_since(SystemTime::now()).unwrap();
    assert!(left <= Duration::from_secs(60) + slack && left > Duration::from_secs(1), "{left:?}");
    let view = view_of(&all, "b");
    assert_eq!((view.state, view.is_own), (State::Closed, false));
    assert_eq!((view.reason, view.consecutive_failures), (None, 1));

    // Once two agree, the state is that of the fleet.
    second.try_acquire().unwrap().failure();
    second.try_acquire().unwrap().failure();
    reaches(&[&first, &second], State::Open);
    eventually("both say so", || {
        let all = views(&first);
        all.len() == 2
            && ["a", "b"]
                .map(|id| view_of(&all, id).clone())
                .iter()
                .all(|view| view.state == State::Open && !view.is_own && view.reason.is_some())
    });
}

#[needs::programs("redis-server")]
#[test]
fn a_replica_that_does_not_answer_has_no_view_and_delays_the_others_for_the_wait() {
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::to(&server);
    let first = named(&server, "a");
    let second = RedisFleet::builder(&proxy.url()).replica_id("b").build().unwrap();
    let (first, second) = (replica(&first, "payments"), replica(&second, "payments"));
    assert_eq!(views(&first).iter().filter(|view| view.view.is_some()).count(), 2);
    proxy.cut();
    eventually("alone", || second.fleet_health().is_alone());
    let wait = Duration::from_millis(200);
    let start = Instant::now();
    let views = tokio_test::block_on(first.fleet_views(wait)).unwrap();
    assert!(start.elapsed() >= wait);
    assert_eq!(view_of(&views, "a").state, State::Closed);
    let silent = views.iter().find(|view| view.replica.id == "b").unwrap();
    assert!(silent.view.is_none() && silent.replica.is_present, "{silent:?}");
    // It cannot ask, either.
    let error = tokio_test::block_on(second.fleet_views(wait)).unwrap_err();
    assert!(matches!(error, FleetError::NotReached { .. }), "{error}");
}

#[needs::programs("redis-server")]
#[test]
fn a_question_leaves_nothing_behind() {
    let Some(server) = RedisServer::start() else { return };
    let fleet = named(&server, "a");
    let breaker = replica(&fleet, "payments");
    for _ in 0..3 {
        assert_eq!(views(&breaker).len(), 1);
    }
    let answers = server.command(&["KEYS", "circuit_breaker:{0}:fleet:answers:*"]);
    for key in answers.lines().filter(|line| !line.is_empty()) {
        let left: i64 = server.command(&["PTTL", key]).parse().unwrap();
        // -2: it has expired meanwhile.
        assert!(left == -2 || (1..=10_000).contains(&left), "{key}: {left}");
    }
}

#[test]
fn without_a_fleet_there_is_nothing_to_say() {
    let breaker = settings("payments").build().unwrap();
    assert_eq!(tokio_test::block_on(breaker.fleet_views(WAIT)), Ok(Vec::new()));
    let fleet = RedisFleet::open("redis://127.0.0.1:1").unwrap();
    let error = tokio_test::block_on(fleet.replicas()).unwrap_err();
    assert!(error.to_string().starts_with("fleet not reached: "), "{error}");
}

#[test]
fn views_are_plain_json() {
    let json = r#"{"replica":{"id":"a","last_seen":1000.5,"is_present":true},"view":{"state":"open",
        "since":990.0,"until":1020.0,"reason":"failure_rate","is_own":false,
        "consecutive_failures":0,"window_calls":10,"window_failures":6,"window_slow_calls":0}}"#;
    let json: String = json.split_whitespace().collect();
    let view: FleetView = serde_json::from_str(&json).unwrap();
    assert_eq!(view.replica.id, "a");
    assert_eq!(view.view.as_ref().unwrap().reason, Some(Reason::FailureRate));
    assert_eq!(serde_json::to_string(&view).unwrap(), json);
}

#[needs::programs("redis-server")]
#[test]
fn what_is_done_by_hand_on_one_replica_is_manual_on_the_others() {
    const LONG: Duration = Duration::from_secs(600);
    let Some(server) = RedisServer::start() else { return };
    let build = |events: mpsc::Sender<Transition>| {
        let builder = settings("payments").recovery_timeout(LONG).on_event(move |event| {
            if let Event::Transition(transition) = event {
                // The test may have ended.
                let _ = events.send(transition.clone());
            }
        });
        let breaker = builder.shared(fleet(&server).build().unwrap()).build().unwrap();
        joined(&breaker);
        breaker
    };
    let next = |events: &mpsc::Receiver<Transition>| {
        let transition = events.recv_timeout(LONG).unwrap();
        assert_eq!(transition.reason, Reason::Fleet);
        (transition.to, transition.manual)
    };
    let first = build(mpsc::channel().0);
    let (sender, events) = mpsc::channel();
    let _second = build(sender);
    first.force_open();
    assert_eq!(next(&events), (State::ForcedOpen, true));
    // One that starts later learns it from the server's answer, not by news.
    let (sender, later) = mpsc::channel();
    let _third = build(sender);
    assert_eq!(next(&later), (State::ForcedOpen, true));
    first.reset();
    assert_eq!(next(&events), (State::Closed, true));
    first.trip();
    assert_eq!(next(&events), (State::Open, true));
    first.reset();
    assert_eq!(next(&events), (State::Closed, true));
    fail(&first);
    assert_eq!(next(&events), (State::Open, false), "by a rule");
    first.reset();
    assert_eq!(next(&events), (State::Closed, true));
    first.trip();
    assert_eq!(next(&events), (State::Open, true));
    // A replica tells a server that was emptied.
    server.command(&["FLUSHALL"]);
    let key = "circuit_breaker:{0}:fleet:payments:breaker";
    eventually("the server knows", || server.command(&["HGET", key, "s"]) == "open");
    let (sender, last) = mpsc::channel();
    let _fourth = build(sender);
    assert_eq!(next(&last), (State::Open, true));
}
