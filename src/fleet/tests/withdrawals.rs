//! The script that takes counts back held to its reference, on a real server.

use std::cell::RefCell;

use proptest::{prelude::*, test_runner::TestRunner};

use super::{support::redis::RedisServer, transport};
use crate::fleet::{
    counting::{Batch, Counted},
    protocol::{
        counts::{Bucket, RuleKey, Tally},
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
    /// Of buckets so far before the newest one, in the state of the counts or another one.
    Withdraw(Vec<(RuleKey, u64, Tally)>, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let tally =
        || (0_u64..6, 0_u64..6).prop_map(|(calls, bad)| Tally { calls, bad: bad.min(calls) });
    let rule = prop_oneof![Just(FAILED), Just(SLOW)];
    let buckets = proptest::collection::vec((rule, 0_u64..2, tally()), 0..4);
    prop_oneof![
        3 => (tally(), tally()).prop_map(|(failed, slow)| Step::Add(failed, slow)),
        2 => (buckets, prop::bool::weighted(0.8))
            .prop_map(|(buckets, is_same)| Step::Withdraw(buckets, is_same)),
    ]
}

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
            prop_assert_eq!(&answers, &[Counted::Sums(expected)]);
            Ok(at)
        };
        for step in steps {
            match step {
                Step::Add(failed, slow) => now = add(&mut reference, failed, slow)?,
                Step::Withdraw(buckets, is_same) => {
                    let newest = now / FAILED.width();
                    let bucket = |(rule, ago, tally): (RuleKey, u64, Tally)| Bucket {
                        rule,
                        number: newest.saturating_sub(ago),
                        tally,
                    };
                    let buckets: Vec<_> = buckets.into_iter().map(bucket).collect();
                    let fence = if is_same { Fence::NONE } else { Fence { number: 1, token: 1 } };
                    let withdrawal = Withdrawal { name: "a", fence, buckets: &buckets };
                    transport.borrow_mut().withdraw(&[withdrawal]).unwrap();
                    reference.withdraw(fence, &buckets);
                }
            }
        }
        // The sums at the end.
        add(&mut reference, Tally::default(), Tally::default()).map(drop)
    });
    result.unwrap();
}
