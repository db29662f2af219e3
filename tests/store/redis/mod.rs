//! Breakers whose state is in Redis. Each test has a server of its own, or keys of its own.

mod access;
mod cluster;
mod discards;
mod expiry;
mod history;
mod loss;
mod no_reply;
mod sentinel;
mod shared_keys;
mod tls;

use std::time::Duration;

use tower_breaker::{Breaker, BreakerBuilder, Config, Trip, store::RedisStore};

use crate::support::redis::RedisServer;

const MINUTE: Duration = Duration::from_secs(60);

fn store(server: &RedisServer) -> RedisStore {
    RedisStore::open(&server.url()).unwrap()
}

/// A breaker that trips at its first failure, and saves soon.
fn builder(name: &str, store: RedisStore, mut config: Config) -> BreakerBuilder {
    config.trip_on = vec![Trip::consecutive_failures(1)];
    Breaker::builder(name).config(config).store(store).flush_interval(Duration::from_millis(10))
}

fn breaker(name: &str, store: RedisStore) -> Breaker {
    builder(name, store, Config::default()).build().unwrap()
}

fn trip(breaker: &Breaker) {
    breaker.try_acquire().unwrap().failure();
}

fn flush(breaker: &Breaker) {
    breaker.flush_blocking(MINUTE).unwrap();
}

fn key(name: &str) -> String {
    format!("circuit_breaker:{name}:state")
}

/// What is stored for a breaker; `(nil)` if nothing is.
fn stored(server: &RedisServer, name: &str) -> String {
    server.command(&["GET", &key(name)])
}

/// The time that a key has left, in milliseconds. -1: it does not expire; -2: there is none.
fn time_left(server: &RedisServer, key: &str) -> i64 {
    server.command(&["PTTL", key]).parse().unwrap()
}
