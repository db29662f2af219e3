//! Who may connect, and what a user has to be allowed to do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use tower_breaker::{
    Breaker, Permit, State, Trip, Window,
    fleet::{FleetCounts, FleetHealth, RedisFleet, RedisFleetBuilder},
    store::RedisCredentials,
};

use crate::{
    replica::{OPEN_TIME, fail, joined, reaches, settings},
    support::{
        acl::{assert_documented, assert_refused_without_secrets, user, wrong_passwords},
        redis::RedisServer,
        wait::eventually,
    },
};

/// What the documentation of `fleet` says that a user needs.
pub(crate) const RULES: &[&str] = &[
    "~circuit_breaker:{*}:fleet:*",
    "+eval",
    "+evalsha",
    "+time",
    "+xread",
    "+xrevrange",
    "+xadd",
    "+hget",
    "+hgetall",
    "+hset",
    "+hsetnx",
    "+hdel",
    "+hincrby",
    "+persist",
    "+pexpireat",
    "+hlen",
    "+pexpire",
    "+zadd",
    "+zcount",
    "+zrange",
    "+zrem",
    "+zremrangebyscore",
];

fn replica(url: &str) -> Breaker {
    let fleet = RedisFleet::open(url).unwrap();
    settings("payments").shared(fleet).build().unwrap()
}

/// Uses everything that a fleet does, until a replica says why it is alone.
pub(crate) fn use_all(url: &str) -> Result<(), String> {
    let (first, second) = (replica(url), replica(url));
    let until = |done: &mut dyn FnMut() -> bool| {
        let mut refused = None;
        eventually("it is done, or there is a reason why not", || {
            let health = [&first, &second].map(Breaker::fleet_health);
            refused = health.into_iter().find(FleetHealth::is_alone).map(|alone| alone.to_string());
            refused.is_some() || done()
        });
        refused.map_or(Ok(()), Err)
    };
    let reach = |state: State| until(&mut || first.state() == state && second.state() == state);
    let probe =
        |breaker: &Breaker, end: fn(Permit)| until(&mut || breaker.try_acquire().map(end).is_ok());
    reach(State::Closed)?;
    let views = tokio_test::block_on(first.fleet_views(Duration::from_secs(5)));
    until(&mut || true)?;
    views.map_err(|error| error.to_string())?;
    fail(&first);
    reach(State::Open)?;
    reach(State::HalfOpen)?;
    probe(&first, Permit::cancel)?;
    probe(&second, Permit::success)?;
    reach(State::Closed)?;
    // A state without an end, and one with an end.
    first.force_open();
    reach(State::ForcedOpen)?;
    second.disable_for(OPEN_TIME);
    reach(State::Disabled)?;
    reach(State::Closed)
}

/// Two replicas trip together, by calls of which neither has enough.
pub(crate) fn count_together(url: &str) {
    let rule = Trip::failure_rate(0.5, Window::Time(Duration::from_secs(600))).minimum_calls(4);
    let replicas = [(); 2].map(|()| {
        let fleet = RedisFleet::builder(url).shards(8).counts(FleetCounts::Shared);
        let builder = Breaker::builder("payments").trip_on(rule);
        let builder = builder.recovery_timeout(Duration::from_secs(60));
        let breaker = builder.shared(fleet.build().unwrap()).build().unwrap();
        joined(&breaker);
        breaker
    });
    for breaker in &replicas {
        breaker.try_acquire().unwrap().failure();
        breaker.try_acquire().unwrap().failure();
    }
    reaches(&replicas.each_ref(), State::Open);
}

#[needs::programs("redis-server")]
#[test]
fn counts_of_the_fleet_need_no_further_permission() {
    let Some(server) = RedisServer::start() else { return };
    count_together(&user(&server, RULES));
}

#[needs::programs("redis-server")]
#[test]
fn a_user_with_exactly_the_documented_permissions_can_use_the_fleet() {
    let Some(server) = RedisServer::start() else { return };
    let url = user(&server, RULES);
    assert_eq!(use_all(&url), Ok(()));
    // Without `zrem`, a replica that ends is listed for ten seconds more as present.
    let needed = RULES.iter().filter(|rule| rule.starts_with('+') && **rule != "+zrem");
    for missing in needed {
        let rules: Vec<_> = RULES.iter().filter(|rule| *rule != missing).copied().collect();
        server.command(&["FLUSHALL"]);
        server.command(&["SCRIPT", "FLUSH"]);
        let url = user(&server, &rules);
        server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        let error = use_all(&url).expect_err(missing);
        println!("{missing}: {error}");
        let denied = format!("denies permission for the command {:?}", &missing[1..]);
        assert!(error.contains(&denied), "{missing}: {error}");
        assert!(!error.contains("s3cret") && !error.contains("user breakers"), "{error}");
    }
    let url = user(&server, &["~another:*", "+@all"]);
    let error = use_all(&url).unwrap_err();
    assert!(error.contains("denies permission for its keys"), "{error}");
}

#[test]
fn the_documentation_has_these_permissions() {
    assert_documented(RULES, include_str!("../../src/fleet/mod.rs"), 5);
}

#[needs::programs("redis-server")]
#[test]
fn a_wrong_password_is_named_without_being_shown() {
    let Some(server) = RedisServer::start_with(&["--requirepass", "s3cret"]) else { return };
    for url in wrong_passwords(&server) {
        let fleet = RedisFleet::open(&url).unwrap();
        let breaker = settings("payments").shared(fleet.clone()).build().unwrap();
        let refused = "refuses the user or the password";
        eventually("it is said", || breaker.fleet_health().to_string().contains(refused));
        let builder = RedisFleet::builder(&url);
        let shown = format!("{:?} {fleet:?} {builder:?}", breaker.fleet_health());
        assert_refused_without_secrets(&shown);
    }
}

#[needs::programs("redis-server")]
#[test]
fn credentials_are_asked_for_at_each_connection() {
    let Some(server) = RedisServer::start_with(&["--requirepass", "first"]) else { return };
    let rotated = Arc::new(AtomicU32::new(0));
    let fleet = |rotated: &Arc<AtomicU32>| -> RedisFleetBuilder {
        let rotated = Arc::clone(rotated);
        RedisFleet::builder(&server.url()).credentials(move || match rotated.load(SeqCst) {
            0 => Err("the vault is sealed".into()),
            1 => Ok(RedisCredentials::new("first")),
            _ => Ok(RedisCredentials::new("second").with_user("default")),
        })
    };
    let build = || settings("payments").shared(fleet(&rotated).build().unwrap()).build().unwrap();
    let (first, second) = (build(), build());
    eventually("it is said", || first.fleet_health().to_string().contains("the vault is sealed"));
    rotated.store(1, SeqCst);
    joined(&first);
    joined(&second);
    server.command_as(&["first"], &["CONFIG", "SET", "requirepass", "second"]);
    rotated.store(2, SeqCst);
    server.command_as(&["second"], &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    first.force_open();
    reaches(&[&second], State::ForcedOpen);
    joined(&second);
    let shown = format!("{:?} {:?}", fleet(&rotated), first.fleet_health());
    assert!(!shown.contains("second"), "{shown}");
}

#[needs::programs("redis-server")]
#[test]
fn a_panic_of_the_credentials_on_the_thread_that_reads_news_does_not_end_it() {
    let Some(server) = RedisServer::start_with(&["--requirepass", "first"]) else { return };
    let panics = Arc::new(AtomicU32::new(0));
    let left = Arc::clone(&panics);
    let builder = RedisFleet::builder(&server.url()).credentials(move || {
        let reads_news = std::thread::current().name() == Some("breaker-news");
        let less = |left: u32| left.checked_sub(1);
        let panics = reads_news && left.fetch_update(SeqCst, SeqCst, less).is_ok();
        assert!(!panics, "the vault is sealed");
        Ok(RedisCredentials::new("first"))
    });
    let other =
        RedisFleet::builder(&server.url()).credentials(|| Ok(RedisCredentials::new("first")));
    let build = |builder: RedisFleetBuilder| {
        settings("payments").shared(builder.build().unwrap()).build().unwrap()
    };
    let (first, second) = (build(builder), build(other));
    joined(&first);
    panics.store(2, SeqCst);
    server.command_as(&["first"], &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    eventually("it has panicked twice", || panics.load(SeqCst) == 0);
    joined(&first);
    joined(&second);
    second.force_open();
    reaches(&[&first], State::ForcedOpen);
}

#[needs::programs("redis-server")]
#[test]
fn a_question_that_the_server_refuses_sends_no_replica_alone() {
    let Some(server) = RedisServer::start() else { return };
    let rules: Vec<_> = RULES.iter().copied().filter(|rule| *rule != "+hlen").collect();
    let breaker = replica(&user(&server, &rules));
    joined(&breaker);
    let error = tokio_test::block_on(breaker.fleet_views(Duration::from_secs(5))).unwrap_err();
    assert!(error.to_string().contains("\"hlen\""), "{error}");
    assert!(!breaker.fleet_health().is_alone(), "{}", breaker.fleet_health());
}
