//! Redis expires what is not used any more, and nothing that is.

use std::time::Duration;

use tower_breaker::{
    Config, Outcome, State,
    config::SnapshotTtl,
    store::{HistoryRecord, HistoryStore, RedisStore, SaveEntry, StateStore},
};

use super::{breaker, builder, flush, key, store, stored, time_left, trip};
use crate::support::{redis::RedisServer, wait::eventually};

const HOUR: i64 = 3_600_000;

fn short_lives(open: Duration, closed: Duration) -> Config {
    let mut ttl = SnapshotTtl::default();
    (ttl.open, ttl.closed) = (open, closed);
    let mut config = Config::default();
    config.snapshot_ttl = ttl;
    // An open circuit's snapshot lives until the open time and the half-open one end.
    config.recovery_timeout = Duration::from_secs(1);
    config.half_open_timeout = Some(Duration::from_secs(1));
    config
}

#[test]
fn the_process_does_not_look_for_expired_values_itself() {
    // It connects to no server.
    let store = RedisStore::open("redis://127.0.0.1:1").unwrap();
    assert!(store.expires_by_itself() && !store.needs_sweep());
    assert!(store.swept_part().is_none());
}

#[needs::programs("redis-server")]
#[test]
fn a_snapshot_lives_as_long_as_its_state_says() {
    let Some(server) = RedisServer::start() else { return };
    let left = |name: &str| time_left(&server, &key(name));
    let about = |found: i64, expected: i64| (expected - HOUR / 60..=expected).contains(&found);

    let closed = breaker("closed", store(&server));
    closed.try_acquire().unwrap().success();
    flush(&closed);
    closed.try_acquire().unwrap().record(Outcome::failure(), Duration::ZERO);
    closed.reset();
    flush(&closed);
    assert!(about(left("closed"), HOUR), "{}", left("closed"));

    let open = breaker("open", store(&server));
    trip(&open);
    flush(&open);
    assert!(about(left("open"), 24 * HOUR), "{}", left("open"));

    let mut config = short_lives(Duration::from_secs(1), Duration::from_secs(1));
    config.recovery_timeout = Duration::from_secs(2 * 3600);
    config.half_open_timeout = Some(Duration::from_secs(3600));
    let long = builder("open for long", store(&server), config).build().unwrap();
    trip(&long);
    flush(&long);
    // Once the open time is over, a new process must find that the circuit is half-open.
    assert!(about(left("open for long"), 3 * HOUR), "{}", left("open for long"));

    let mut config = short_lives(Duration::from_secs(1), Duration::from_secs(1));
    config.half_open_timeout = Some(Duration::from_secs(2 * 3600));
    let half_open = builder("half-open", store(&server), config).build().unwrap();
    trip(&half_open);
    eventually("half-open", || half_open.state() == State::HalfOpen);
    let probe = half_open.try_acquire().unwrap();
    flush(&half_open);
    assert!(about(left("half-open"), 2 * HOUR), "{}", left("half-open"));
    drop(probe);

    let forced = breaker("forced", store(&server));
    forced.force_open();
    flush(&forced);
    assert_eq!(left("forced"), -1, "a state set by hand does not expire");
    forced.reset();
    flush(&forced);
    assert!(about(left("forced"), HOUR), "{}", left("forced"));
}

#[needs::programs("redis-server")]
#[test]
fn a_snapshot_in_use_is_saved_again_before_it_expires() {
    let Some(server) = RedisServer::start() else { return };
    let lives = || short_lives(Duration::from_secs(4), Duration::from_secs(4));
    let used = builder("used", store(&server), lives()).build().unwrap();
    trip(&used);
    flush(&used);
    let unused = builder("unused", store(&server), lives()).build().unwrap();
    trip(&unused);
    drop(unused);
    assert_ne!(stored(&server, "unused"), "(nil)");
    let first = stored(&server, "used");
    eventually("it is saved again", || stored(&server, "used") != first);
    eventually("what is not in use expires", || stored(&server, "unused") == "(nil)");
    let second = stored(&server, "used");
    eventually("it is saved again and again", || stored(&server, "used") != second);
    assert_ne!(stored(&server, "used"), "(nil)");
    drop(used);

    // One that has only been read is in use too.
    let read = builder("used", store(&server), lives()).build().unwrap();
    assert_ne!(read.state(), State::Closed);
    let first = stored(&server, "used");
    eventually("it is saved again", || {
        let stored = stored(&server, "used");
        assert_ne!(stored, "(nil)", "it has expired");
        stored != first
    });
}

#[needs::programs("redis-server")]
#[test]
fn what_has_expired_leaves_the_index() {
    let Some(server) = RedisServer::start() else { return };
    let store = store(&server);
    let soon = Duration::from_millis(1);
    let entries = [
        SaveEntry::new("gone", "1").with_ttl(soon),
        SaveEntry::new("gone unchanged", "1").with_ttl(soon).with_unchanged_state(),
        SaveEntry::new("left", "2"),
    ];
    store.save_all(&entries).unwrap();
    eventually("it has expired", || store.load("gone").unwrap().is_none());
    eventually("so has the other", || store.load("gone unchanged").unwrap().is_none());
    assert_eq!(store.load_page(None, 1).unwrap(), [("left".to_owned(), b"2".to_vec())]);
    let index = server.command(&["ZRANGE", "circuit_breaker:index", "0", "-1"]);
    assert_eq!(index, "left");
}

#[needs::programs("redis-server")]
#[test]
fn an_index_lives_as_long_as_what_it_names() {
    let Some(server) = RedisServer::start() else { return };
    let store = store(&server);
    let save = |key: &str, seconds: Option<u64>| {
        let entry = SaveEntry::new(key, "1");
        let ttl = seconds.map(Duration::from_secs);
        store.save(&ttl.into_iter().fold(entry, SaveEntry::with_ttl)).unwrap();
        time_left(&server, "circuit_breaker:index")
    };
    let about = |found: i64, expected: i64| (expected - HOUR / 60..=expected).contains(&found);
    let left = save("one", Some(3600));
    assert!(about(left, HOUR), "{left}");
    let left = save("short", Some(1));
    assert!(about(left, HOUR), "it was shortened: {left}");
    let left = save("long", Some(7200));
    assert!(about(left, 2 * HOUR), "{left}");
    assert_eq!(save("by hand", None), -1);
    assert_eq!(save("one", Some(3600)), -1, "it still names what stays");
    store.delete_all(&["by hand", "short"].map(str::to_owned)).unwrap();
    let records = [HistoryRecord::new(1, "text").with_ttl(Duration::from_secs(3600))];
    store.append("history", &records).unwrap();
    let left = time_left(&server, "circuit_breaker:histories");
    assert!(about(left, HOUR), "{left}");
}

#[needs::programs("redis-server")]
#[test]
fn an_instance_that_is_gone_leaves_nothing_for_long() {
    let Some(server) = RedisServer::start() else { return };
    let store = RedisStore::builder(&server.url()).instance("gone").open().unwrap();
    let second = Duration::from_secs(1);
    store.save(&SaveEntry::new("value", "1").with_ttl(second)).unwrap();
    store.append("history", &[HistoryRecord::new(1, "text").with_ttl(second)]).unwrap();
    let epoch = "circuit_breaker@gone:epoch";
    eventually("all else has expired", || server.command(&["KEYS", "*"]) == epoch);
    let left = time_left(&server, epoch);
    assert!((0..=48 * HOUR).contains(&left), "{left}");
    // While the process lives, it puts that off.
    server.command(&["PEXPIRE", epoch, "1000"]);
    let another = RedisStore::builder(&server.url()).instance("gone").open().unwrap();
    another.save(&SaveEntry::new("value", "1").with_ttl(second)).unwrap();
    let left = time_left(&server, epoch);
    assert!((40 * HOUR..=48 * HOUR).contains(&left), "{left}");
    store.verify().unwrap();
}

#[needs::programs("redis-server")]
#[test]
fn a_shared_server_is_never_scanned() {
    let Some(server) = RedisServer::start() else { return };
    for _ in 0..2 {
        let store = store(&server);
        let breakers: Vec<_> =
            (0..100).map(|number| breaker(&number.to_string(), store.clone())).collect();
        breakers.iter().for_each(tower_breaker::Breaker::reset);
        breakers.iter().for_each(trip);
        breakers.iter().for_each(flush);
        store.load_page(None, 10).unwrap();
        store.history().unwrap().keys(None, 10).unwrap();
    }
    let used = server.command(&["INFO", "commandstats"]);
    for command in ["scan", "keys", "sscan", "zscan", "flushdb", "flushall"] {
        assert!(!used.contains(&format!("cmdstat_{command}:")), "{used}");
    }
}
