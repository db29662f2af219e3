//! News that are late, doubled, trimmed or deleted.

use std::time::{Duration, Instant};

use tower_breaker::{
    Event, State,
    fleet::{FleetHealth, RedisFleet},
};

use crate::{
    proxy::Proxy,
    replica::{fleet, joined, reaches, replica, settings},
    support::{redis::RedisServer, wait::eventually},
};

#[needs::programs("redis-server")]
#[test]
fn news_that_come_late_or_twice_change_nothing() {
    let Some(server) = RedisServer::start() else { return };
    let (first, second) = (replica(&server, "payments"), replica(&server, "payments"));
    let (mark, marked) = (replica(&server, "mark"), replica(&server, "mark"));
    first.force_open();
    reaches(&[&second], State::ForcedOpen);
    let stream = "circuit_breaker:{0}:fleet:news";
    let opened = server.command(&["XREVRANGE", stream, "+", "-", "COUNT", "1"]);
    let opened: Vec<_> = opened.lines().skip(1).map(str::to_owned).collect();
    first.reset();
    reaches(&[&second], State::Closed);

    for _ in 0..2 {
        let serial = server.command(&["HINCRBY", "circuit_breaker:{0}:fleet:shard", "news", "1"]);
        let mut again = vec!["XADD", stream, "*", "i", &serial];
        again.extend(opened.iter().map(String::as_str).skip(2));
        server.command(&again);
    }
    // News come in order: once these are known, those before them are.
    mark.force_open();
    reaches(&[&marked], State::ForcedOpen);
    assert_eq!((first.state(), second.state()), (State::Closed, State::Closed));
}

#[needs::programs("redis-server")]
#[test]
fn news_that_were_trimmed_are_made_up_for() {
    let Some(server) = RedisServer::start() else { return };
    let (first, second) = (replica(&server, "payments"), replica(&server, "payments"));
    let (mark, marked) = (replica(&server, "mark"), replica(&server, "mark"));
    // A number is missing: the reader cannot know what it said.
    server.command(&["HINCRBY", "circuit_breaker:{0}:fleet:shard", "news", "5"]);
    mark.force_open();
    reaches(&[&marked], State::ForcedOpen);
    first.force_open();
    reaches(&[&second], State::ForcedOpen);
}

#[needs::programs("redis-server")]
#[test]
fn a_state_whose_news_the_server_has_trimmed_before_they_were_read_is_asked_for() {
    // All at once, so that no reader comes between: a state, and more news than the stream keeps.
    const SCRIPT: &str = "
        redis.call('HSET', KEYS[1], 'n', '1', 't', ARGV[1], 's', 'forced_open', 'u', '0', 'd', '',
            'o', '0', 'h', ARGV[1] .. ' ')
        for _ = 1, 25000 do
            local serial = redis.call('HINCRBY', KEYS[2], 'news', 1)
            redis.call('XADD', KEYS[3], 'MAXLEN', '~', 10000, '*', 'i', serial, 'b', 'other',
                'n', '1', 't', ARGV[1], 's', 'closed', 'u', '0', 'd', '', 'o', '0', 'h', '0')
        end
        return redis.call('XLEN', KEYS[3])";
    let Some(server) = RedisServer::start() else { return };
    let (breaker, other) = (replica(&server, "payments"), replica(&server, "payments"));
    let keys = ["payments:breaker", "shard", "news"];
    let [key, shard, news] = keys.map(|key| format!("circuit_breaker:{{0}}:fleet:{key}"));
    let left = server.command(&["EVAL", SCRIPT, "3", &key, &shard, &news, "00000000000000aa"]);
    let left: u32 = left.parse().unwrap();
    assert!((10_000..20_000).contains(&left), "{left} news");
    reaches(&[&breaker, &other], State::ForcedOpen);
}

#[needs::programs("redis-server")]
#[test]
fn late_news_change_a_replica_once_they_come_and_each_state_in_its_turn() {
    const LATE: Duration = Duration::from_millis(300);
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::to(&server);
    let first = replica(&server, "payments");
    let fleet = RedisFleet::open(&proxy.url()).unwrap();
    let late = settings("payments").shared(fleet).build().unwrap();
    joined(&late);
    let mut events = late.subscribe();
    proxy.delay(LATE);
    first.force_open();
    first.reset();
    first.disable();
    let set = Instant::now();
    reaches(&[&late], State::Disabled);
    println!("late by {:?}", set.elapsed());
    assert!(set.elapsed() >= LATE);
    let mut states = Vec::new();
    while let Ok(Event::Transition(transition)) = events.try_recv() {
        states.push(transition.to);
    }
    // A state that was over before anything was told may be left out; none comes back.
    let turn = [State::ForcedOpen, State::Closed, State::Disabled];
    let mut turns = states.iter().map(|state| turn.iter().position(|one| one == state).unwrap());
    assert!(turns.clone().is_sorted() && turns.next_back() == Some(2), "{states:?}");
    assert_eq!(late.fleet_health(), FleetHealth::Joined);
}

#[needs::programs("redis-server")]
#[test]
fn a_stream_of_news_that_was_deleted_makes_no_replica_join_again_and_again() {
    let Some(server) = RedisServer::start() else { return };
    let breaker = settings("payments").shared(fleet(&server).build().unwrap()).build().unwrap();
    joined(&breaker);
    breaker.force_open();
    let news = "circuit_breaker:{0}:fleet:news";
    eventually("the server has it", || server.command(&["EXISTS", news]) == "1");
    server.command(&["DEL", news]);
    let begins = || -> u64 {
        let stats = server.command(&["INFO", "commandstats"]);
        let line = stats.lines().find(|line| line.starts_with("cmdstat_xrevrange:")).unwrap();
        line.split(['=', ',']).nth(1).unwrap().parse().unwrap()
    };
    let before = begins();
    server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    eventually("it reads news again", || begins() > before);
    joined(&breaker);
    let before = begins();
    // Three heartbeats.
    std::thread::sleep(Duration::from_secs(3));
    assert!(begins() - before <= 2, "{}", begins() - before);
}
