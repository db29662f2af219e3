//! The script of the counts held to its reference, on a real server.

use std::{cell::RefCell, collections::BTreeSet, time::Duration};

use proptest::{prelude::*, test_runner::TestRunner};

use super::{Seen, support::redis::RedisServer, transport};
use crate::{
    fleet::{
        counting::{Batch, Counted},
        protocol::{
            command::{FleetCommand, Request},
            counts::{RuleKey, Tally},
            fence::Fence,
            tests::counter::Counter,
        },
    },
    state::State,
};

const COUNTS: &str = "circuit_breaker:{0}:fleet:a:counts";
const SHORT: RuleKey = RuleKey { slower_than: None, window: 3_000 };
const LONG: RuleKey = RuleKey { slower_than: None, window: 60_000_000 };
const SLOW: RuleKey = RuleKey { slower_than: Some(50_000), window: 60_000_000 };

#[derive(Debug, Clone)]
enum Step {
    Add(Seen, Vec<(RuleKey, Tally)>),
    Wait(Duration),
    /// The counts are gone.
    Forget,
    /// The breaker gets a new state.
    NewState,
    /// Something was counted while the clock was ahead.
    Ahead(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let seen = prop_oneof![
        8 => Just(Seen::Same),
        1 => Just(Seen::OtherToken),
        1 => Just(Seen::Newer),
    ];
    let tally = (0_u64..4, 0_u64..3).prop_map(|(calls, bad)| Tally { calls, bad: bad.min(calls) });
    let rules = (tally.clone(), tally.clone(), tally)
        .prop_map(|(short, long, slow)| vec![(SHORT, short), (LONG, long), (SLOW, slow)]);
    let rules = (rules, 1_usize..4).prop_map(|(mut rules, count)| {
        rules.truncate(count);
        rules
    });
    prop_oneof![
        10 => (seen, rules).prop_map(|(seen, rules)| Step::Add(seen, rules)),
        3 => (1_u64..3).prop_map(|millis| Step::Wait(Duration::from_millis(millis))),
        1 => Just(Step::Forget),
        1 => Just(Step::NewState),
        1 => (1_u64..3).prop_map(Step::Ahead),
    ]
}

#[needs::programs("redis-server")]
#[test]
fn the_script_counts_as_the_reference_does() {
    let Some(server) = RedisServer::start() else { return };
    let transport = RefCell::new(transport(&server));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let kinds = RefCell::new(BTreeSet::new());
    let steps = proptest::collection::vec(step(), 1..40);
    let result = runner.run(&steps, |steps| {
        server.command(&["FLUSHALL"]);
        let mut reference = Counter::default();
        let mut stored = Fence::NONE;
        let mut now = 0;
        for step in &steps {
            match step {
                Step::Wait(time) => std::thread::sleep(*time),
                Step::Forget => {
                    server.command(&["DEL", COUNTS]);
                    reference = Counter::default();
                }
                Step::NewState => {
                    let token = fastrand::u64(1..);
                    let request =
                        Request::Set { token, state: State::Closed, lasts: None, opens: 0 };
                    let command = FleetCommand { seen: stored, request };
                    stored = transport.borrow_mut().call("a", command).unwrap().record.fence;
                }
                Step::Ahead(buckets) => {
                    let bucket = now / LONG.width() + buckets;
                    let field = format!("{}:{bucket}:c", LONG.name());
                    server.command(&["HINCRBY", COUNTS, &field, "5"]);
                    reference.buckets.entry((LONG.name(), bucket)).or_default().calls += 5;
                }
                Step::Add(seen, rules) => {
                    let seen = seen.fence(stored);
                    // Another breaker beside it, which has no state.
                    let other = [(LONG, Tally { calls: 1, bad: 0 })];
                    let batches = [
                        Batch { name: "b", seen: Fence::NONE, rules: &other },
                        Batch { name: "a", seen, rules },
                    ];
                    let (answers, at) = transport.borrow_mut().count(&batches).unwrap();
                    now = at;
                    let is_counted = matches!(answers[0], Counted::Sums { .. });
                    prop_assert!(is_counted);
                    let expected = reference.add(now, stored, seen, rules);
                    kinds.borrow_mut().insert(expected.is_some());
                    let sums =
                        |sums| Counted::Sums { begun: reference.series.unwrap().begun, sums };
                    prop_assert_eq!(&answers[1], &expected.map_or(Counted::Stale, sums));
                }
            }
        }
        Ok(())
    });
    result.unwrap();
    assert_eq!(kinds.borrow().len(), 2, "both kinds of answer were compared");
}

#[needs::programs("redis-server")]
#[test]
fn counts_expire_and_a_broken_key_breaks_only_its_own_breaker() {
    let Some(server) = RedisServer::start() else { return };
    let mut transport = transport(&server);
    let rules = [(LONG, Tally { calls: 2, bad: 1 })];
    let mut count = |names: &[&'static str]| {
        let batch = |name: &&'static str| Batch { name, seen: Fence::NONE, rules: &rules };
        transport.count(&names.iter().map(batch).collect::<Vec<_>>()).unwrap().0
    };
    let is_counted = |answer: &Counted| match answer {
        Counted::Sums { sums, .. } => *sums == [Tally { calls: 2, bad: 1 }],
        _ => false,
    };
    assert!(is_counted(&count(&["a"])[0]));
    let left: u64 = server.command(&["PTTL", COUNTS]).parse().unwrap();
    assert!((55_000..=60_200).contains(&left), "{left}");
    for broken in ["circuit_breaker:{0}:fleet:c:counts", "circuit_breaker:{0}:fleet:d:breaker"] {
        server.command(&["SET", broken, "no hash"]);
    }
    let answers = count(&["c", "b", "d"]);
    assert!(is_counted(&answers[1]), "{answers:?}");
    assert_eq!([&answers[0], &answers[2]], [&Counted::Broken; 2]);
}

#[needs::programs("redis-server")]
#[test]
fn counts_that_arrive_after_their_deadline_count_for_nothing() {
    let Some(server) = RedisServer::start() else { return };
    let mut transport = transport(&server);
    transport.beat("a").unwrap();
    transport.pretend_told(1, Duration::ZERO);
    let rules = [(LONG, Tally { calls: 2, bad: 1 })];
    let batch = Batch { name: "a", seen: Fence::NONE, rules: &rules };
    assert_eq!(transport.count(&[batch]).unwrap().0, [Counted::Late]);
    assert_eq!(server.command(&["EXISTS", COUNTS]), "0");
}
