//! Votes and counts that a replica takes back.

use super::{rig::Rig, *};
use crate::{
    config::{Trip, Window},
    fleet::{
        counting::{Batch, Counted},
        protocol::{
            counts::{RuleKey, Tally},
            fence::Fence,
        },
    },
};

/// Longer than a test takes on a busy machine.
const WINDOW: Duration = Duration::from_secs(6000);

/// How many calls the server has counted.
fn counted(rig: &Rig) -> u64 {
    let fields = rig.server.command(&["HGETALL", "circuit_breaker:{0}:fleet:counts:a"]);
    let fields: Vec<_> = fields.lines().collect();
    let calls = fields.chunks_exact(2).filter(|pair| pair[0].ends_with(":c"));
    calls.map(|pair| pair[1].parse::<u64>().unwrap()).sum()
}

#[test]
fn what_a_server_has_forgotten_is_not_taken_back_from_others() {
    let start = Rig::start_counting(Agreement::replicas(2), FleetCounts::Shared);
    let Some(mut rig) = start else { return };
    let mut config = Rig::config();
    config.trip_on = vec![Trip::failure_rate(0.5, Window::Time(WINDOW)).minimum_calls(3)];
    config.recovery_timeout = Duration::from_secs(1);
    let breaker = rig.add("a", config);
    rig.step();
    for _ in 0..2 {
        breaker.permit().unwrap().failure();
    }
    rig.take_messages();
    rig.agent.send_counts().unwrap();
    assert_eq!(counted(&rig), 2);
    rig.server.command(&["FLUSHALL"]);
    // Another replica counts in the same bucket.
    let rule = RuleKey { slower_than: None, window: micros(WINDOW) };
    let rules = [(rule, Tally { calls: 5, bad: 1 })];
    let batch = Batch { name: "a", seen: Fence::NONE, rules: &rules };
    let (answers, _) = rig.agent.transport.count(&[batch]).unwrap();
    assert!(matches!(&answers[..], [Counted::Sums(_)]), "{answers:?}");
    // It is noticed at the next beat.
    rig.agent.beat_at = Instant::now();
    rig.step();
    breaker.permit().unwrap().failure();
    let vote = |rig: &Rig| rig.agent.breakers[&breaker.id].entry.vote_until();
    rig.until("its vote is counted", |rig| vote(rig).is_some());
    rig.until("its vote has ended", |rig| vote(rig).is_none());
    assert_eq!(counted(&rig), 5);
}
