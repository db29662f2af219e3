//! A reference of the server's counts: what the Lua script does, in Rust. And what follows from it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::fleet::protocol::{
    counts::{BUCKETS, Bucket, Ledger, RuleKey, Series, Tally},
    fence::Fence,
    record::Micros,
};

/// What a server has counted of one breaker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Counter {
    pub(crate) series: Option<Series>,
    /// By the rule's name and the number of the bucket.
    pub(crate) buckets: BTreeMap<(String, u64), Tally>,
}

impl Counter {
    /// Adds a batch. `None`: it belongs to another state than the server's, `stored`.
    pub(crate) fn add(
        &mut self,
        now: Micros,
        stored: Fence,
        seen: Fence,
        batch: &[(RuleKey, Tally)],
    ) -> Option<Vec<Tally>> {
        if stored != seen {
            return None;
        }
        if self.series.is_none_or(|series| series.fence != seen) {
            let series = Some(Series { fence: seen, begun: now });
            *self = Self { series, ..Self::default() };
        }
        for (rule, tally) in batch {
            let bucket = self.buckets.entry((rule.name(), now / rule.width())).or_default();
            bucket.calls += tally.calls;
            bucket.bad += tally.bad;
        }
        Some(batch.iter().map(|(rule, _)| self.sum(now, rule)).collect())
    }

    /// Takes back what a replica has counted.
    pub(crate) fn withdraw(&mut self, series: Series, buckets: &[Bucket]) {
        if self.series != Some(series) {
            return;
        }
        for Bucket { rule, number, tally } in buckets {
            if let Some(bucket) = self.buckets.get_mut(&(rule.name(), *number)) {
                bucket.calls = bucket.calls.saturating_sub(tally.calls);
                bucket.bad = bucket.bad.saturating_sub(tally.bad);
            }
        }
    }

    fn sum(&mut self, now: Micros, rule: &RuleKey) -> Tally {
        let (name, newest) = (rule.name(), now / rule.width());
        let is_in = |bucket: u64| bucket <= newest && bucket + BUCKETS > newest;
        self.buckets.retain(|(other, bucket), _| *other != name || is_in(*bucket));
        let own = self.buckets.iter().filter(|((other, _), _)| *other == name);
        own.fold(Tally::default(), |sum, (_, tally)| Tally {
            calls: sum.calls + tally.calls,
            bad: sum.bad + tally.bad,
        })
    }
}

const RULE: RuleKey = RuleKey { slower_than: None, window: 1000 };

#[derive(Debug, Clone)]
enum Step {
    /// A replica counts a call.
    Call {
        replica: usize,
        bad: bool,
    },
    /// It sends what it has counted. The batch arrives after this time, or not at all.
    Send {
        replica: usize,
        arrives: Option<Micros>,
    },
    /// Its windows begin anew, as when the circuit has closed.
    Clear(usize),
    Wait(Micros),
}

fn step() -> impl Strategy<Value = Step> {
    let arrives = proptest::option::weighted(0.8, 0_u64..200);
    prop_oneof![
        8 => (0_usize..3, any::<bool>()).prop_map(|(replica, bad)| Step::Call { replica, bad }),
        4 => (0_usize..3, arrives).prop_map(|(replica, arrives)| Step::Send { replica, arrives }),
        1 => (0_usize..3).prop_map(Step::Clear),
        3 => (0_u64..400).prop_map(Step::Wait),
    ]
}

#[derive(Default)]
struct Replica {
    ledger: Ledger,
    generation: u64,
    recorded: Tally,
    /// The calls since the last batch.
    unsent: Vec<Bad>,
}

/// Whether a call was bad.
type Bad = bool;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A simple model: each call is in one batch, and each batch arrives once or never.
    #[test]
    fn sums_hold_each_call_that_has_arrived_once(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut replicas: [Replica; 3] = Default::default();
        let mut counter = Counter::default();
        // Batches on the way: when they arrive, and what they say.
        let mut sent: Vec<(Micros, Vec<Tally>, Vec<Bad>)> = Vec::new();
        // Calls that have arrived: when, and the calls.
        let mut arrived: Vec<(Micros, Vec<Bad>)> = Vec::new();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Call { replica, bad } => {
                    let replica = &mut replicas[replica];
                    replica.recorded.calls += 1;
                    replica.recorded.bad += u64::from(bad);
                    replica.unsent.push(bad);
                }
                Step::Clear(replica) => {
                    let replica = &mut replicas[replica];
                    replica.generation += 1;
                    replica.recorded = Tally::default();
                    replica.unsent.clear();
                }
                Step::Send { replica, arrives } => {
                    let Replica { ledger, generation, recorded, unsent } = &mut replicas[replica];
                    let batch = ledger.take(*generation, &[*recorded]);
                    let calls = std::mem::take(unsent);
                    prop_assert_eq!(batch[0].calls, calls.len() as u64);
                    if let Some(after) = arrives {
                        sent.push((now + after, batch, calls));
                    }
                }
                Step::Wait(time) => now += time,
            }
            sent.sort_by_key(|(at, ..)| *at);
            while sent.first().is_some_and(|(at, ..)| *at <= now) {
                let (at, batch, calls) = sent.remove(0);
                arrived.push((at, calls));
                let batch = [(RULE, batch[0])];
                let sum = counter.add(at, Fence::NONE, Fence::NONE, &batch).unwrap()[0];
                // Those of the window, and of no longer than a bucket more or less.
                let within = |time: Micros| {
                    let calls = arrived.iter().filter(|(then, _)| then + time > at);
                    let calls: Vec<Bad> = calls.flat_map(|(_, calls)| calls).copied().collect();
                    let bad = calls.iter().filter(|bad| **bad).count() as u64;
                    Tally { calls: calls.len() as u64, bad }
                };
                let (least, most) = (within(RULE.window - RULE.width()), within(RULE.window));
                prop_assert!(least.calls <= sum.calls && sum.calls <= most.calls, "{:?}", sum);
                prop_assert!(least.bad <= sum.bad && sum.bad <= most.bad, "{:?}", sum);
            }
        }
    }
}

#[test]
fn a_batch_of_another_state_counts_for_nothing_and_a_new_state_begins_anew() {
    let mut counter = Counter::default();
    let (first, second) = (Fence { number: 1, token: 7 }, Fence { number: 2, token: 8 });
    let batch = [(RULE, Tally { calls: 3, bad: 2 })];
    let mut add = |stored, seen| counter.add(1, stored, seen, &batch).map(|sums| sums[0].calls);
    assert_eq!(add(first, first), Some(3));
    assert_eq!(add(first, first), Some(6));
    assert_eq!(add(second, first), None);
    assert_eq!(add(second, second), Some(3));
}

#[test]
fn what_a_replica_takes_back_is_what_the_server_has_counted_of_it_and_is_in_the_window() {
    let (mut counter, mut ledger) = (Counter::default(), Ledger::default());
    let (fence, other) = (Fence { number: 1, token: 7 }, Fence { number: 2, token: 8 });
    // The first one leaves the window before the end.
    for (now, own, calls) in
        [(5, true, 9), (900, true, 2), (910, true, 3), (910, false, 4), (1005, true, 1)]
    {
        let batch = [(RULE, Tally { calls, bad: 1 })];
        counter.add(now, fence, fence, &batch).unwrap();
        if own {
            ledger.note(counter.series.unwrap(), now, &batch);
        }
    }
    assert_eq!(counter.sum(1005, &RULE), Tally { calls: 10, bad: 4 });
    assert_eq!(ledger.clone().withdraw(other).1, [], "of another state");
    let (series, own) = ledger.withdraw(fence);
    assert_eq!(series, Series { fence, begun: 5 });
    assert_eq!(own.iter().map(|bucket| bucket.tally.calls).sum::<u64>(), 6);
    assert_eq!(ledger.withdraw(fence).1, [], "it is taken back once");
    for other in [Series { fence: other, ..series }, Series { begun: 6, ..series }] {
        counter.withdraw(other, &own);
        assert_eq!(counter.sum(1005, &RULE), Tally { calls: 10, bad: 4 });
    }
    counter.withdraw(series, &own);
    assert_eq!(counter.sum(1005, &RULE), Tally { calls: 4, bad: 1 });
}

#[test]
fn a_batch_that_the_server_has_refused_goes_with_the_next_one() {
    let mut ledger = Ledger::default();
    let mut take = |generation, calls, is_refused| {
        let batch = ledger.take(generation, &[Tally { calls, bad: 1 }]);
        if is_refused {
            ledger.give_back(generation, &batch);
        }
        batch[0].calls
    };
    assert_eq!([take(0, 3, false), take(0, 5, true), take(0, 7, false)], [3, 2, 4]);
    assert_eq!([take(1, 4, true), take(1, 4, false), take(1, 4, false)], [4, 4, 0]);
    let mut ledger = Ledger::default();
    let old = ledger.take(0, &[Tally { calls: 3, bad: 1 }]);
    ledger.take(1, &[Tally { calls: 5, bad: 1 }]);
    ledger.give_back(0, &old);
    assert_eq!(ledger.take(1, &[Tally { calls: 6, bad: 2 }]), [Tally { calls: 1, bad: 1 }]);
}

#[test]
fn what_a_server_has_lost_is_not_taken_back() {
    let (mut ledger, fence) = (Ledger::default(), Fence { number: 1, token: 7 });
    let batch = |calls| [(RULE, Tally { calls, bad: 1 })];
    ledger.note(Series { fence, begun: 5 }, 900, &batch(9));
    // It begins anew.
    ledger.note(Series { fence, begun: 905 }, 905, &batch(2));
    let (series, own) = ledger.withdraw(fence);
    assert_eq!(series.begun, 905);
    assert_eq!(own.iter().map(|bucket| bucket.tally.calls).sum::<u64>(), 2);
}

#[test]
fn rules_that_differ_in_what_they_count_have_different_names() {
    let rules = [(None, 1000), (None, 2000), (Some(5), 1000), (Some(6), 1000), (Some(5), 2000)];
    let rules = rules.map(|(slower_than, window)| RuleKey { slower_than, window }.name());
    let names: std::collections::BTreeSet<_> = rules.iter().collect();
    assert_eq!(names.len(), rules.len());
    assert!(rules.iter().all(|name| !name.contains(':')));
}
