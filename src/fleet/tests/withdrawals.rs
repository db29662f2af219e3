//! The script that takes counts back held to its reference, on a real server.

use std::cell::RefCell;

use proptest::{prelude::*, test_runner::TestRunner};

use super::{support::redis::RedisServer, transport};
use crate::fleet::{
    counting::{Batch, Counted},
    protocol::{
        counts::{Bucket, RuleKey, Series, Tally},
        fence::Fence,
        tests::counter::Counter,
    },
    withdrawal::Withdrawal,
};

const FAILED: RuleKey = RuleKey { slower_than: None, window: 60_000_000 };
const SLOW: RuleKey = RuleKey { slower_than: Some(50_000), window: 60_000_000 };

#[derive(Debug, Clone)]
enum Step {
    Add(Tally, Tally),
    /// Of buckets so far before the newest one.
    Withdraw(Vec<(RuleKey, u64, Tally)>, Of),
    /// The counts are gone.
    Forget,
}

/// Of which counts.
#[derive(Debug, Clone, Copy)]
enum Of {
    TheseCounts,
    AnotherState,
    /// Those before the server has forgotten them.
    Earlier,
}

fn step() -> impl Strategy<Value = Step> {
    let tally =
        || (0_u64..6, 0_u64..6).prop_map(|(calls, bad)| Tally { calls, bad: bad.min(calls) });
    let rule = prop_oneof![Just(FAILED), Just(SLOW)];
    let buckets = proptest::collection::vec((rule, 0_u64..2, tally()), 0..4);
    let of = prop_oneof![
        6 => Just(Of::TheseCounts),
        1 => Just(Of::AnotherState),
        1 => Just(Of::Earlier),
    ];
    prop_oneof![
        3 => (tally(), tally()).prop_map(|(failed, slow)| Step::Add(failed, slow)),
        2 => (buckets, of)
            .prop_map(|(buckets, of)| Step::Withdraw(buckets, of)),
        1 => Just(Step::Forget),
    ]
}

#[needs::programs("redis-server")]
#[test]
fn the_script_takes_counts_back_as_the_reference_does() {
    let Some(server) = RedisServer::start() else { return };
    let transport = RefCell::new(transport(&server));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let steps = proptest::collection::vec(step(), 1..30);
    let result = runner.run(&steps, |steps| {
        server.command(&["FLUSHALL"]);
        let mut reference = Counter::default();
        let mut now = 0;
        let add = |reference: &mut Counter, failed, slow| {
            let rules = [(FAILED, failed), (SLOW, slow)];
            let batch = Batch { name: "a", seen: Fence::NONE, rules: &rules };
            let (answers, at) = transport.borrow_mut().count(&[batch]).unwrap();
            let expected = reference.add(at, Fence::NONE, Fence::NONE, &rules).unwrap();
            let begun = reference.series.unwrap().begun;
            prop_assert_eq!(&answers, &[Counted::Sums { begun, sums: expected }]);
            Ok(at)
        };
        for step in steps {
            match step {
                Step::Add(failed, slow) => now = add(&mut reference, failed, slow)?,
                Step::Forget => {
                    server.command(&["DEL", "circuit_breaker:{0}:fleet:a:counts"]);
                    reference = Counter::default();
                }
                Step::Withdraw(buckets, of) => {
                    let newest = now / FAILED.width();
                    let bucket = |(rule, ago, tally): (RuleKey, u64, Tally)| Bucket {
                        rule,
                        number: newest.saturating_sub(ago),
                        tally,
                    };
                    let buckets: Vec<_> = buckets.into_iter().map(bucket).collect();
                    let Series { fence, begun } = reference.series.unwrap_or_default();
                    let series = match of {
                        Of::TheseCounts => Series { fence, begun },
                        Of::AnotherState => Series { fence: Fence { number: 1, token: 1 }, begun },
                        Of::Earlier => Series { fence, begun: begun.saturating_sub(1) },
                    };
                    let withdrawal = Withdrawal { name: "a", series, buckets: &buckets };
                    transport.borrow_mut().withdraw(&[withdrawal]).unwrap();
                    reference.withdraw(series, &buckets);
                }
            }
        }
        // The sums at the end.
        add(&mut reference, Tally::default(), Tally::default()).map(drop)
    });
    result.unwrap();
}
