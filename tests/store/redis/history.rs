//! Histories in Redis.

use tower_breaker::store::{HistoryRecord, HistoryStore};

use super::{breaker, flush, store, time_left, trip};
use crate::support::redis::RedisServer;

fn record(id: u64, text: &str) -> HistoryRecord {
    HistoryRecord::new(id, text)
}

#[needs::programs("redis-server")]
#[test]
fn records_of_two_replicas_never_replace_each_other() {
    let Some(server) = RedisServer::start() else { return };
    let (one, other) = (store(&server), store(&server));
    one.append("key", &[record(10, "one"), record(11, "one more")]).unwrap();
    for _ in 0..3 {
        // As after an error: the caller adds the same records again.
        other.append("key", &[record(10, "other"), record(20, "last")]).unwrap();
        one.append("key", &[record(10, "one"), record(11, "one more")]).unwrap();
    }
    let expected =
        [record(20, "last"), record(12, "other"), record(11, "one more"), record(10, "one")];
    assert_eq!(one.load_newest("key", None, 10).unwrap(), expected);
    for (before, found) in [(None, 20), (Some(20), 12), (Some(12), 11), (Some(11), 10)] {
        assert_eq!(other.load_newest("key", before, 1).unwrap()[0].id, found);
    }
    one.append("key", &[record(12, "mine")]).unwrap();
    assert_eq!(one.load_newest("key", None, 2).unwrap()[1], record(13, "mine"));
    assert_eq!(one.load_newest("key", None, 10).unwrap().len(), 5);
}

#[needs::programs("redis-server")]
#[test]
fn a_history_expires_with_its_newest_record() {
    const DAY: i64 = 24 * 3_600_000;
    let Some(server) = RedisServer::start() else { return };
    let breaker = breaker("payments", store(&server));
    trip(&breaker);
    flush(&breaker);
    let left = time_left(&server, "circuit_breaker:payments:history");
    assert!((29 * DAY..=30 * DAY).contains(&left), "{left}");
    let kept = server.command(&["ZCARD", "circuit_breaker:payments:history"]);
    assert_eq!(kept, "1");
}

#[needs::programs("redis-server")]
#[test]
fn a_server_that_does_not_know_the_scripts_is_sent_them() {
    let Some(server) = RedisServer::start() else { return };
    let store = store(&server);
    for id in 1..=3 {
        assert_eq!(server.command(&["SCRIPT", "FLUSH"]), "OK");
        store.append("key", &[record(id, "text")]).unwrap();
    }
    assert_eq!(store.load_newest("key", None, 10).unwrap().len(), 3);
}
