//! The scripts on a server that has no memory left: what they change there, they change whole or
//! not at all.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
};

use proptest::{prelude::*, test_runner::TestRunner};

use super::{KEY, NEWS, Step, step, support::redis::RedisServer, transport};
use crate::{
    fleet::{
        counting::{Batch, Counted},
        protocol::{
            command::{FleetCommand, Request, Voter},
            counts::{Bucket, RuleKey, Series, Tally},
            fence::Fence,
            tests::server::Server,
        },
        withdrawal::Withdrawal,
    },
    store::StoreError,
};

const SHARD: &str = "circuit_breaker:{0}:fleet:shard";
const COUNTS: &str = "circuit_breaker:{0}:fleet:a:counts";

fn set_full(server: &RedisServer, is_full: bool) {
    server.command(&["CONFIG", "SET", "maxmemory", if is_full { "1" } else { "0" }]);
}

fn is_refused<T: std::fmt::Debug>(result: &Result<T, StoreError>) -> bool {
    result.as_ref().is_err_and(|error| error.to_string().contains("is full"))
}

/// The fields of a hash, each with its value.
fn fields(server: &RedisServer, key: &str) -> BTreeSet<(String, String)> {
    let flat = server.command(&["HGETALL", key]);
    let flat: Vec<&str> = flat.split('\n').collect();
    flat.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

/// What was published.
fn news(server: &RedisServer) -> [String; 2] {
    [server.command(&["XLEN", NEWS]), server.command(&["HGET", SHARD, "news"])]
}

#[needs::programs("redis-server")]
#[test]
fn a_full_server_changes_nothing_but_what_makes_room() {
    let Some(server) = RedisServer::start() else { return };
    let transport = RefCell::new(transport(&server));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let (refused, carried_out) = (Cell::new(0), Cell::new(0));
    let steps = proptest::collection::vec((step(), prop::bool::weighted(0.3)), 1..40);
    let result = runner.run(&steps, |steps| {
        server.command(&["FLUSHALL"]);
        let mut reference = Server::default();
        for (step, is_full) in &steps {
            match step {
                Step::Wait(time) => std::thread::sleep(*time),
                Step::Forget | Step::Clock(_) => {}
                Step::Command(seen, request) => {
                    let seen = seen.fence(reference.stored());
                    let command = FleetCommand { seen, request: *request };
                    let before = (fields(&server, KEY), news(&server));
                    set_full(&server, *is_full);
                    let answer = transport.borrow_mut().call("a", command);
                    set_full(&server, false);
                    let after = (fields(&server, KEY), news(&server));
                    if *is_full && is_refused(&answer) {
                        prop_assert_eq!(after, before, "{:?}", command);
                        refused.set(refused.get() + 1);
                        continue;
                    }
                    let answer = answer.unwrap();
                    let (expected, _) = reference.apply(answer.now, &command);
                    prop_assert_eq!(answer, expected, "{:?}", command);
                    if *is_full {
                        prop_assert_eq!(&after.1, &before.1, "{:?}", command);
                        prop_assert!(after.0.is_subset(&before.0), "{:?}", command);
                        carried_out.set(carried_out.get() + 1);
                    }
                }
            }
        }
        Ok(())
    });
    set_full(&server, false);
    result.unwrap();
    println!("{} refused, {} carried out", refused.get(), carried_out.get());
    assert!(refused.get() > 20 && carried_out.get() > 20);
}

#[needs::programs("redis-server")]
#[test]
fn a_vote_is_taken_back_on_a_full_server() {
    let Some(server) = RedisServer::start() else { return };
    let mut transport = transport(&server);
    let mut vote = |open_for| {
        let request =
            Request::Vote { voter: Voter::of(1), token: 1, open_for, opens: 1, quorum: 2 };
        transport.call("a", FleetCommand { seen: Fence::NONE, request })
    };
    vote(60_000_000).unwrap();
    set_full(&server, true);
    vote(0).unwrap();
    assert_eq!(server.command(&["HGET", KEY, "v:0000000000000001:0000000000000001"]), "(nil)");
}

#[needs::programs("redis-server")]
#[test]
fn a_full_server_keeps_the_counts_of_the_state_before_and_gives_counts_back() {
    let Some(server) = RedisServer::start() else { return };
    let mut transport = transport(&server);
    let rule = RuleKey { slower_than: None, window: 6_000_000_000 };
    let rules = [(rule, Tally { calls: 5, bad: 3 })];
    let batch = Batch { name: "a", seen: Fence::NONE, rules: &rules };
    let (answers, now) = transport.count(&[batch]).unwrap();
    let Counted::Sums { begun, .. } = answers[0] else { panic!("{answers:?}") };
    let before = fields(&server, COUNTS);
    let vote = Request::Vote { voter: Voter::of(1), token: 7, open_for: 1, opens: 1, quorum: 1 };
    let seen = transport.call("a", FleetCommand { seen: Fence::NONE, request: vote }).unwrap();
    let seen = seen.record.fence;

    set_full(&server, true);
    let answer = transport.count(&[Batch { name: "a", seen, rules: &rules }]);
    assert!(is_refused(&answer), "{answer:?}");
    assert_eq!(fields(&server, COUNTS), before);
    // What frees memory is carried out.
    let bucket =
        |calls| Bucket { rule, number: now / rule.width(), tally: Tally { calls, bad: 1 } };
    let buckets = [bucket(2)];
    let series = Series { fence: Fence::NONE, begun };
    transport.withdraw(&[Withdrawal { name: "a", series, buckets: &buckets }]).unwrap();
    let fields = fields(&server, COUNTS);
    let of = |kind: &str| fields.iter().find(|(name, _)| name.ends_with(kind)).unwrap().1.clone();
    assert_eq!([of(":c"), of(":b")], ["3", "2"]);
}
