//! The command `tower-breaker inspect` on a store in Redis, run as a process.

use std::{
    process::{Command, Output},
    time::Duration,
};

use serde_json::Value;
use tower_breaker::{Breaker, store::RedisStore};

use crate::{
    inspect::text,
    support::{redis::RedisServer, redis_cluster::RedisCluster},
};

/// Runs the command with the store in its variable.
fn inspect(url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tower-breaker"));
    command.env("TOWER_BREAKER_STORE", url).arg("inspect").args(arguments).output().unwrap()
}

#[track_caller]
fn shown(url: &str, arguments: &[&str]) -> String {
    let output = inspect(url, arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Stores breakers in several states.
fn fill(url: &str) {
    let store = RedisStore::open(url).unwrap();
    let breaker = |name: &str| {
        let builder = Breaker::builder(name).recovery_timeout(Duration::from_secs(3600));
        builder.store(store.clone()).build().unwrap()
    };
    let payments = breaker("payments");
    for _ in 0..5 {
        payments.try_acquire().unwrap().failure();
    }
    let by_hand = breaker("by hand");
    by_hand.force_open();
    let gone = breaker("gone");
    gone.disable();
    for breaker in [payments, by_hand, gone] {
        breaker.flush_blocking(Duration::from_secs(60)).unwrap();
    }
}

#[needs::programs("redis-server")]
#[test]
fn a_user_who_may_only_read_sees_breakers_and_histories() {
    let Some(server) = RedisServer::start() else { return };
    fill(&server.url());
    // Its name is still in the index, and the reader may not remove it.
    server.command(&["DEL", "circuit_breaker:gone:state"]);
    let rules =
        ["~circuit_breaker:*", "~other:*", "+get", "+mget", "+zrangebylex", "+zrevrangebylex"];
    let define = [&["ACL", "SETUSER", "reader", "on", ">s3cret"], &rules[..]].concat();
    assert_eq!(server.command(&define), "OK");
    let url = server.url().replace("://", "://reader:s3cret@");

    let table = shown(&url, &[]);
    assert!(table.starts_with("NAME"), "{table}");
    let row = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(row("payments").contains(" open ") && row("by hand").contains("forced_open"));
    assert_eq!(table.lines().count(), 3, "{table}");

    let all: Value = serde_json::from_str(&shown(&url, &["--json"])).unwrap();
    assert_eq!((all["kind"].as_str(), all["held"].as_bool()), (Some("redis"), Some(false)));
    let address = format!("redis://***@127.0.0.1:{}", server.port());
    assert_eq!(all["server"].as_str(), Some(&*address));
    assert_eq!(all["breakers"][1]["failures"], 5);

    let history = shown(&url, &["--history", "payments"]);
    assert!(history.lines().nth(1).unwrap().contains("consecutive_failures"), "{history}");
    let other = inspect(&url, &["--history", "other"]);
    assert_eq!(other.status.code(), Some(4));
    assert!(!text(&other.stderr).contains("s3cret"), "{}", text(&other.stderr));
    // As an argument, with keys of another prefix.
    let argument = shown("off", &[&url, "--prefix", "other"]);
    assert_eq!(argument, "no breaker is stored here\n");
}

#[needs::programs("redis-server")]
#[test]
fn a_server_that_refuses_or_is_away_is_named_without_its_password() {
    let Some(server) = RedisServer::start_with(&["--requirepass", "s3cret"]) else { return };
    let refusal = |url: &str| {
        let output = inspect(url, &[]);
        let error = text(&output.stderr);
        assert!(!error.contains("wr0ng"), "{error}");
        (output.status.code(), error)
    };
    let url = server.url().replace("://", "://:wr0ng@");
    let (code, error) = refusal(&url);
    assert!(code == Some(1) && error.contains("refuses the user or the password"), "{error}");
    server.stop();
    let (code, error) = refusal(&url);
    assert!(code == Some(5) && error.contains("cannot be reached"), "{error}");
    let (code, error) = refusal("redis://:wr0ng@");
    assert!(code == Some(1) && error.contains("URL of Redis is invalid"), "{error}");
    let (code, error) = refusal("memory");
    assert!(code == Some(1) && error.contains("memory cannot be inspected"), "{error}");
}

#[needs::programs("redis-server")]
#[test]
fn breakers_in_a_cluster_are_shown() {
    let Some(cluster) = RedisCluster::start() else { return };
    fill(&cluster.url());
    let table = shown(&cluster.url(), &[]);
    assert_eq!(table.lines().count(), 4, "{table}");
    let history = shown(&cluster.url(), &["--history", "by hand"]);
    assert!(history.contains("forced_open"), "{history}");
}
