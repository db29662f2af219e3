//! Replicas that share keys, and instances that do not.

use std::time::Duration;

use tower_breaker::{Breaker, Config, State, StateStore, Trip, store::RedisStore};

use super::{breaker, builder, flush, store, stored, trip};
use crate::support::redis::RedisServer;

/// Makes the breaker save its state without a transition.
fn count(breaker: &Breaker) {
    let permit = breaker.try_acquire().unwrap();
    permit.failure();
    flush(breaker);
}

/// A breaker that counts failures, and does not trip.
fn counting(name: &str, store: RedisStore) -> Breaker {
    let builder = Breaker::builder(name).trip_on(Trip::consecutive_failures(1000));
    builder.store(store).build().unwrap()
}

#[needs::programs("redis-server")]
#[test]
fn counts_do_not_replace_a_circuit_that_another_replica_has_opened() {
    let Some(server) = RedisServer::start() else { return };
    let other = counting("shared", store(&server));
    count(&other);
    assert!(stored(&server, "shared").contains(r#""state":"closed""#));
    let tripped = breaker("shared", store(&server));
    trip(&tripped);
    flush(&tripped);
    let open = stored(&server, "shared");
    assert!(open.contains(r#""state":"open""#), "{open}");
    count(&other);
    assert_eq!(stored(&server, "shared"), open);

    // A new pod finds what its predecessors knew.
    assert_eq!(breaker("shared", store(&server)).state(), State::Open);

    // What the replica does itself counts.
    other.trip();
    other.reset();
    flush(&other);
    assert!(stored(&server, "shared").contains(r#""state":"closed""#));
    tripped.reset();
    flush(&tripped);
    count(&other);
    assert!(stored(&server, "shared").contains(r#""failure_count":1"#), "closed replaces closed");
}

/// A listing is no knowledge of the breaker.
#[needs::programs("redis-server")]
#[test]
fn counts_do_not_replace_an_open_circuit_that_a_listing_has_shown() {
    let Some(server) = RedisServer::start() else { return };
    let shared = store(&server);
    let other = counting("listed", shared.clone());
    count(&other);
    let tripped = breaker("listed", store(&server));
    trip(&tripped);
    flush(&tripped);
    let open = stored(&server, "listed");
    assert_eq!(shared.load_page(None, 10).unwrap().len(), 1);
    count(&other);
    assert_eq!(stored(&server, "listed"), open);
}

/// Many breakers are restored from pages of snapshots.
#[needs::programs("redis-server")]
#[test]
fn counts_replace_what_a_breaker_was_restored_from() {
    const MANY: usize = 200;
    let Some(server) = RedisServer::start() else { return };
    let names: Vec<_> = (0..MANY).map(|number| number.to_string()).collect();
    let saved = store(&server);
    for name in &names {
        counting(name, saved.clone()).metrics_only();
    }
    server.command(&["CONFIG", "RESETSTAT"]);
    let shared = store(&server);
    let breakers: Vec<_> = names.iter().map(|name| counting(name, shared.clone())).collect();
    let used = server.command(&["INFO", "commandstats"]);
    let single_reads = used.lines().find_map(|line| {
        line.strip_prefix("cmdstat_get:calls=")?.split(',').next()?.parse::<usize>().ok()
    });
    assert!(single_reads.unwrap() < MANY, "not restored from pages: {used}");
    for (name, breaker) in names.iter().zip(&breakers) {
        assert_eq!(breaker.state(), State::MetricsOnly);
        count(breaker);
        let stored = stored(&server, name);
        assert!(stored.contains(r#""failure_count":1"#), "{stored}");
    }
}

#[needs::programs("redis-server")]
#[test]
fn counts_replace_an_open_circuit_whose_time_is_over() {
    let Some(server) = RedisServer::start() else { return };
    let other = counting("over", store(&server));
    let mut config = Config::default();
    config.recovery_timeout = Duration::from_millis(50);
    let tripped = builder("over", store(&server), config).build().unwrap();
    trip(&tripped);
    flush(&tripped);
    assert!(!stored(&server, "over").contains(r#""state":"closed""#));
    std::thread::sleep(Duration::from_millis(60));
    count(&other);
    assert!(stored(&server, "over").contains(r#""state":"closed""#));
}

#[needs::programs("redis-server")]
#[test]
fn counts_do_not_replace_a_state_set_by_hand() {
    let Some(server) = RedisServer::start() else { return };
    let other = counting("by hand", store(&server));
    let forced = breaker("by hand", store(&server));
    for (set, state) in [
        (Breaker::force_open as fn(&_), "forced_open"),
        (Breaker::disable, "disabled"),
        (Breaker::metrics_only, "metrics_only"),
    ] {
        set(&forced);
        flush(&forced);
        count(&other);
        let state = format!(r#""state":"{state}""#);
        assert!(stored(&server, "by hand").contains(&state), "{}", stored(&server, "by hand"));
    }
    forced.reset();
    flush(&forced);
    count(&other);
    assert!(stored(&server, "by hand").contains(r#""failure_count":"#));
}

#[needs::programs("redis-server")]
#[test]
fn instances_have_keys_of_their_own() {
    let Some(server) = RedisServer::start() else { return };
    let open =
        |id: &str| RedisStore::builder(&server.url()).prefix("shop").instance(id).open().unwrap();
    let first = breaker("payments", open("web-1"));
    trip(&first);
    flush(&first);
    assert_eq!(breaker("payments", open("web-2")).state(), State::Closed);
    drop(first);
    assert_eq!(breaker("payments", open("web-1")).state(), State::Open);
    let state = server.command(&["GET", "shop@web-1:payments:state"]);
    assert!(state.contains(r#""state":"open""#), "{state}");
}
