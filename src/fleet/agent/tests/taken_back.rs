//! Votes and counts that a replica takes back.

use super::{
    rig::{Breaker, LONG, Rig, TOO_SHORT},
    *,
};
use crate::{
    config::{Trip, Window},
    fleet::{
        counting::{Batch, Counted},
        protocol::{
            counts::{RuleKey, Tally},
            fence::Fence,
        },
        tests::support::wait::eventually,
    },
};

const VOTE: &str = "v:0000000000000001";
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
    assert!(matches!(&answers[..], [Counted::Sums { .. }]), "{answers:?}");
    breaker.permit().unwrap().failure();
    let vote = |rig: &Rig| rig.agent.breakers[&breaker.id].entry.vote_until();
    rig.until("its vote is counted", |rig| vote(rig).is_some());
    rig.until("its vote has ended", |rig| vote(rig).is_none());
    assert_eq!(counted(&rig), 5);
}

/// A breaker whose vote was counted, and has ended.
fn with_ended_vote(rig: &mut Rig) -> Breaker {
    let mut config = Rig::config();
    config.recovery_timeout = Duration::from_secs(1);
    let breaker = rig.add("a", config);
    rig.step();
    breaker.fail();
    rig.take_messages();
    rig.agent.settle(&[breaker.id]).unwrap();
    assert_ne!(rig.field("a", VOTE), "(nil)");
    eventually("its vote has ended", || {
        let view = rig.view(&breaker);
        rig.shared(&breaker).entry.vote_until().unwrap() <= view.now
    });
    breaker
}

#[test]
fn a_vote_that_is_taken_back_too_late_is_taken_back_again_after_a_pause() {
    let Some(mut rig) = Rig::start(Agreement::replicas(2)) else { return };
    let breaker = with_ended_vote(&mut rig);
    rig.agent.transport.timeout = TOO_SHORT;
    let (before, began) = (rig.scripts(), Instant::now());
    rig.until("a while has passed", |_| began.elapsed() > Duration::from_millis(300));
    let sent = rig.scripts() - before;
    assert!((1..=10).contains(&sent), "{sent} scripts");
    assert_ne!(rig.field("a", VOTE), "(nil)");
    rig.agent.transport.timeout = LONG;
    rig.until("it is taken back", |rig| rig.field("a", VOTE) == "(nil)");
    rig.step();
    assert_eq!(rig.shared(&breaker).entry.vote_until(), None);
}

#[test]
fn a_vote_is_taken_back_again_once_the_server_is_reached() {
    let Some(mut rig) = Rig::start(Agreement::replicas(2)) else { return };
    let breaker = with_ended_vote(&mut rig);
    rig.server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    assert!(rig.agent.end_votes(&[breaker.id]).is_err());
    rig.agent.go_alone("the connection has ended");
    rig.until("it is taken back", |rig| rig.field("a", VOTE) == "(nil)");
}

#[test]
fn a_breaker_that_is_gone_takes_its_vote_back() {
    let Some(mut rig) = Rig::start(Agreement::replicas(2)) else { return };
    let breaker = rig.add("a", Rig::config());
    rig.step();
    breaker.fail();
    rig.until("its vote is counted", |rig| rig.field("a", VOTE) != "(nil)");
    let id = breaker.id;
    drop(breaker);
    rig.agent.take(Message::Detach(id));
    assert_eq!(rig.field("a", VOTE), "(nil)");
}

#[test]
fn a_replica_that_leaves_takes_its_votes_back() {
    let Some(mut rig) = Rig::start(Agreement::replicas(2)) else { return };
    let breakers = ["a", "b"].map(|name| rig.add(name, Rig::config()));
    rig.step();
    breakers.iter().for_each(Breaker::fail);
    for name in ["a", "b"] {
        rig.until("its vote is counted", |rig| rig.field(name, VOTE) != "(nil)");
    }
    rig.agent.leave();
    assert_eq!([rig.field("a", VOTE), rig.field("b", VOTE)], ["(nil)", "(nil)"]);
}
