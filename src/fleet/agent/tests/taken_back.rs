//! Votes and counts that a replica takes back.

use std::sync::atomic::Ordering;

use super::{
    rig::{Breaker, LONG, Rig, TOO_SHORT},
    *,
};
use crate::{
    config::{Config, Trip, Window},
    fleet::{
        counting::{Batch, Counted},
        protocol::{
            command::{Request, Voter},
            counts::{RuleKey, Tally},
            fence::Fence,
        },
        tests::support::wait::{eventually, holds_in_time},
    },
    state::State,
};

/// Longer than a test takes on a busy machine.
const WINDOW: Duration = Duration::from_secs(6000);

/// How many calls the server has counted.
fn counted(rig: &Rig) -> u64 {
    let fields = rig.server.command(&["HGETALL", "circuit_breaker:{0}:fleet:a:counts"]);
    let fields: Vec<_> = fields.lines().collect();
    let calls = fields.chunks_exact(2).filter(|pair| pair[0].ends_with(":c"));
    calls.map(|pair| pair[1].parse::<u64>().unwrap()).sum()
}

/// Trips at its third failure.
fn rated() -> Config {
    let mut config = Rig::config();
    config.trip_on = vec![Trip::failure_rate(0.5, Window::Time(WINDOW)).minimum_calls(3)];
    config.recovery_timeout = Duration::from_secs(1);
    config
}

#[needs::programs("redis-server")]
#[test]
fn what_a_server_has_forgotten_is_not_taken_back_from_others() {
    let start = Rig::start_counting(Agreement::replicas(2), FleetCounts::Shared);
    let Some(mut rig) = start else { return };
    let breaker = rig.add("a", rated());
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
    assert!(!rig.votes("a").is_empty());
    eventually("its vote has ended", || {
        let view = rig.view(&breaker);
        rig.shared(&breaker).entry.vote_until().unwrap() <= view.now
    });
    breaker
}

#[needs::programs("redis-server")]
#[test]
fn a_vote_that_is_taken_back_too_late_is_taken_back_again_after_a_pause() {
    let Some(mut rig) = Rig::start(Agreement::replicas(2)) else { return };
    let breaker = with_ended_vote(&mut rig);
    rig.agent.transport.timeout = TOO_SHORT;
    let (before, began) = (rig.scripts(), Instant::now());
    rig.until("a while has passed", |_| began.elapsed() > Duration::from_millis(300));
    let sent = rig.scripts() - before;
    assert!((1..=10).contains(&sent), "{sent} scripts");
    assert!(!rig.votes("a").is_empty());
    rig.agent.transport.timeout = LONG;
    rig.until("it is taken back", |rig| rig.votes("a").is_empty());
    rig.step();
    assert_eq!(rig.shared(&breaker).entry.vote_until(), None);
}

#[needs::programs("redis-server")]
#[test]
fn a_vote_is_taken_back_again_once_the_server_is_reached() {
    let Some(mut rig) = Rig::start(Agreement::replicas(2)) else { return };
    let breaker = with_ended_vote(&mut rig);
    rig.server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    assert!(rig.agent.end_votes(&[breaker.id]).is_err());
    rig.agent.go_alone("the connection has ended");
    rig.until("it is taken back", |rig| rig.votes("a").is_empty());
}

#[needs::programs("redis-server")]
#[test]
fn counts_are_taken_back_with_the_vote_although_that_fails_at_first() {
    let start = Rig::start_counting(Agreement::replicas(2), FleetCounts::Shared);
    let Some(mut rig) = start else { return };
    let breaker = rig.add("a", rated());
    rig.step();
    for _ in 0..2 {
        breaker.permit().unwrap().failure();
    }
    rig.take_messages();
    rig.agent.send_counts().unwrap();
    assert_eq!(counted(&rig), 2);
    breaker.permit().unwrap().failure();
    rig.take_messages();
    rig.agent.settle(&[breaker.id]).unwrap();
    assert_eq!(rig.votes("a").len(), 1);
    eventually("its vote has ended", || {
        let view = rig.view(&breaker);
        rig.shared(&breaker).entry.vote_until().unwrap() <= view.now
    });
    rig.server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    assert!(rig.agent.end_votes(&[breaker.id]).is_err());
    rig.agent.go_alone("the connection has ended");
    assert_eq!(counted(&rig), 2);
    rig.until("the vote is taken back", |rig| rig.votes("a").is_empty());
    rig.until("and the counts", |rig| counted(rig) == 0);
}

#[needs::programs("redis-server")]
#[test]
fn a_breaker_that_is_gone_takes_its_vote_back() {
    let Some(mut rig) = Rig::start(Agreement::replicas(2)) else { return };
    let breaker = rig.add("a", Rig::config());
    rig.step();
    breaker.fail();
    rig.until("its vote is counted", |rig| !rig.votes("a").is_empty());
    let id = breaker.id;
    drop(breaker);
    rig.agent.take(Message::Detach(id));
    rig.step();
    assert!(rig.votes("a").is_empty());
}

#[needs::programs("redis-server")]
#[test]
fn what_a_breaker_that_is_gone_gives_back_waits_for_a_server_that_is_not_reached() {
    let Some(mut rig) = Rig::start(Agreement::replicas(2)) else { return };
    for is_alone_before in [false, true] {
        let breaker = rig.add("a", Rig::config());
        rig.step();
        breaker.fail();
        rig.until("its vote is counted", |rig| !rig.votes("a").is_empty());
        rig.server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
        if is_alone_before {
            rig.agent.beat_at = Instant::now();
            rig.step();
        }
        let id = breaker.id;
        drop(breaker);
        rig.agent.take(Message::Detach(id));
        if !is_alone_before {
            rig.step();
        }
        assert_eq!((rig.agent.link, rig.votes("a").len()), (Link::Alone, 1));
        rig.until("it is taken back", |rig| rig.votes("a").is_empty());
        rig.until("the replica has joined", |rig| rig.agent.link == Link::Joined);
    }
}

#[needs::programs("redis-server")]
#[test]
fn what_a_breaker_that_is_gone_gives_back_too_late_is_given_back_once_more() {
    let Some(mut rig) = Rig::start(Agreement::replicas(2)) else { return };
    for is_late_again in [false, true] {
        let breaker = rig.add("a", Rig::config());
        rig.step();
        breaker.fail();
        rig.until("its vote is counted", |rig| !rig.votes("a").is_empty());
        let id = breaker.id;
        drop(breaker);
        rig.agent.take(Message::Detach(id));
        rig.agent.transport.timeout = TOO_SHORT;
        rig.agent.send_released().unwrap();
        assert_eq!((rig.votes("a").len(), rig.agent.released.len()), (1, 1));
        if !is_late_again {
            rig.agent.transport.timeout = LONG;
        }
        rig.agent.send_released().unwrap();
        // It lapses by itself.
        assert_eq!(rig.votes("a").len(), usize::from(is_late_again));
        assert!(rig.agent.released.is_empty());
        rig.agent.transport.timeout = LONG;
    }
}

/// It may end right after its vote is counted, before it knows that.
#[needs::programs("redis-server")]
#[test]
fn a_process_waits_for_the_return_of_a_vote_that_is_on_its_way() {
    let Some(mut rig) = Rig::start(Agreement::replicas(2)) else { return };
    let breaker = rig.add("a", Rig::config());
    rig.step();
    breaker.fail();
    rig.take_messages();
    let signals = Arc::clone(&rig.agent.signals);
    assert!(!signals.has_votes.load(Ordering::Relaxed));
    rig.server.signal("STOP");
    let (agent, id) = (&mut rig.agent, breaker.id);
    std::thread::scope(|scope| {
        scope.spawn(move || agent.settle(&[id]));
        let is_sent = || signals.has_votes.load(Ordering::Relaxed);
        let is_known = holds_in_time(is_sent);
        rig.server.signal("CONT");
        assert!(is_known, "a drop must wait for it");
    });
}

#[needs::programs("redis-server")]
#[test]
fn a_breaker_that_is_gone_leaves_the_vote_of_another_of_its_name() {
    // One of them was built first, and votes last.
    for has_voted_first in [true, false] {
        let Some(mut rig) = Rig::start(Agreement::replicas(2)) else { return };
        let [gone, stays] = [(); 2].map(|()| rig.add("a", Rig::config()));
        rig.step();
        let [first, second] = if has_voted_first { [&gone, &stays] } else { [&stays, &gone] };
        first.fail();
        rig.until("a vote is counted", |rig| rig.votes("a").len() == 1);
        second.fail();
        rig.until("so is the other", |rig| rig.votes("a").len() == 2);
        assert_eq!(rig.field("a", "s"), "(nil)", "they are one replica's");
        let id = gone.id;
        drop(gone);
        rig.agent.take(Message::Detach(id));
        rig.step();
        assert_eq!(rig.votes("a").len(), 1);
        let request = Request::Vote {
            voter: Voter::of(2),
            token: 7,
            open_for: 60_000_000,
            opens: 1,
            quorum: 2,
        };
        assert_eq!(rig.other("a", request).record.state, State::Open);
        drop(stays);
    }
}

#[needs::programs("redis-server")]
#[test]
fn breakers_that_are_gone_take_their_votes_back_in_batches_of_the_pace() {
    const VOTES: usize = 40;
    let Some(mut rig) = Rig::start(Agreement::replicas(2)) else { return };
    let name = |number: usize| format!("breaker-{number}");
    let breakers: Vec<_> = (0..VOTES).map(|one| rig.add(&name(one), Rig::config())).collect();
    rig.until("all have joined", |rig| rig.agent.changed.is_empty());
    breakers.iter().for_each(Breaker::fail);
    let counted = |rig: &Rig| (0..VOTES).map(|one| rig.votes(&name(one)).len()).sum::<usize>();
    rig.until("all votes are counted", |rig| counted(rig) == VOTES);
    rig.until("nothing is left to do", |rig| rig.agent.changed.is_empty());
    let before = rig.agent.transport.round_trips;
    for breaker in breakers {
        rig.agent.take(Message::Detach(breaker.id));
    }
    rig.until("all are taken back", |rig| counted(rig) == 0);
    let sent = rig.agent.transport.round_trips - before;
    assert!(sent <= 5, "{sent} round trips");
}

#[needs::programs("redis-server")]
#[test]
fn a_replica_that_leaves_takes_its_votes_back() {
    let Some(mut rig) = Rig::start(Agreement::replicas(2)) else { return };
    let breakers = ["a", "b"].map(|name| rig.add(name, Rig::config()));
    rig.step();
    breakers.iter().for_each(Breaker::fail);
    for name in ["a", "b"] {
        rig.until("its vote is counted", |rig| !rig.votes(name).is_empty());
    }
    rig.agent.leave();
    assert!(rig.votes("a").is_empty() && rig.votes("b").is_empty());
}
