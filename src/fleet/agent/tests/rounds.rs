//! What is asked and told in rounds over all breakers.

use super::{
    rig::{Breaker, LONG, Rig},
    *,
};
use crate::{
    fleet::{
        message::News,
        pace::Pace,
        protocol::{command::Request, fence::Fence, record::Record},
    },
    state::State,
};

const KEY: &str = "circuit_breaker:{0}:fleet:a:breaker";

/// Waits until there is nothing to do.
#[track_caller]
fn rest(rig: &mut Rig) {
    rig.until("there is nothing to do", |rig| {
        let agent = &rig.agent;
        agent.link == Link::Joined && agent.changed.is_empty() && !agent.rounds.is_joining()
    });
}

/// So many breakers that have joined.
fn joined(rig: &mut Rig, count: u32) -> Vec<Breaker> {
    let breakers = (0..count).map(|one| rig.add(&format!("breaker-{one}"), Rig::config()));
    let breakers: Vec<_> = breakers.collect();
    rest(rig);
    breakers
}

/// Has the server told again what lasts.
fn tell_again(rig: &mut Rig) {
    // Nothing else is due.
    rig.agent.beat_at = Instant::now() + LONG;
    rig.agent.rounds.tell_at = Instant::now();
    rig.step();
}

#[needs::programs("redis-server")]
#[test]
fn breakers_join_again_in_batches_of_the_pace() {
    const MANY: u32 = 200;
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let _breakers = joined(&mut rig, MANY);
    rig.agent.go_alone("a test");
    rig.agent.transport.pace = Pace::new();
    let (before, scripts) = (rig.agent.transport.round_trips, rig.scripts());
    rest(&mut rig);
    assert_eq!(rig.scripts() - scripts, u64::from(MANY), "one for each");
    // 16, 32, 64 and the rest, or less at once on a busy machine.
    let sent = rig.agent.transport.round_trips - before;
    assert!((4..=25).contains(&sent), "{sent} round trips");
}

#[needs::programs("redis-server")]
#[test]
fn a_round_that_an_error_has_interrupted_goes_on_where_it_stopped() {
    const MANY: u32 = 60;
    const DONE: usize = 20;
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let breakers = joined(&mut rig, MANY);
    let begin = |rig: &mut Rig| {
        rig.agent.go_alone("a test");
        rig.agent.beat().unwrap();
        rig.agent.begin_round();
        rig.agent.link_up();
        let ids: Vec<u64> = breakers[..DONE].iter().map(|breaker| breaker.id).collect();
        rig.agent.settle(&ids).unwrap();
        rig.agent.go_alone("the connection has ended");
        rig.scripts()
    };
    let scripts = begin(&mut rig);
    assert!(rig.agent.health.get().is_alone());
    rest(&mut rig);
    assert_eq!(rig.scripts() - scripts, u64::from(MANY) - DONE as u64);
    assert!(!rig.agent.health.get().is_alone());
    for breaker in &breakers {
        assert!(rig.shared(breaker).is_attached);
    }
    // What is decided meanwhile is sent.
    let scripts = begin(&mut rig);
    breakers[0].force_open();
    rest(&mut rig);
    assert_eq!(rig.field("breaker-0", "s"), "forced_open");
    assert_eq!(rig.scripts() - scripts, u64::from(MANY) - DONE as u64 + 1);
    // Not where the server has forgotten what it knew, or news may have been missed.
    for has_forgotten in [true, false] {
        let scripts = begin(&mut rig);
        if has_forgotten {
            rig.server.command(&["FLUSHALL"]);
        } else {
            rig.agent.take(Message::Reading { serial: 0 });
        }
        rest(&mut rig);
        assert!(rig.scripts() - scripts >= u64::from(MANY));
    }
}

#[needs::programs("redis-server")]
#[test]
fn what_has_changed_does_not_wait_for_a_round() {
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let breakers = joined(&mut rig, 60);
    rig.agent.rounds.must_join = true;
    rig.agent.begin_round();
    let last = breakers.last().unwrap();
    last.force_open();
    rig.take_messages();
    let ids = rig.agent.next_changed(1);
    rig.agent.settle(&ids).unwrap();
    assert!(rig.agent.rounds.is_joining());
    assert_eq!(rig.field("breaker-59", "s"), "forced_open");
}

#[needs::programs("redis-server")]
#[test]
fn a_server_that_has_evicted_a_state_that_lasts_is_told_it_and_no_closed_one() {
    for by_hand in [true, false] {
        let Some(mut rig) = Rig::start(Agreement::any()) else { return };
        let [breaker, closed] = ["a", "closed"].map(|name| rig.add(name, Rig::config()));
        rest(&mut rig);
        if by_hand {
            breaker.force_open();
        } else {
            breaker.fail();
        }
        rig.until("it is stored", |rig| rig.field("a", "s") != "(nil)");
        rest(&mut rig);
        let fence = rig.record("a").fence;
        rig.server.command(&["DEL", KEY]);
        let before = rig.scripts();
        tell_again(&mut rig);
        assert_eq!(rig.scripts() - before, 1);
        assert_eq!(rig.record("a").fence, fence);
        // Not again at once.
        let before = rig.scripts();
        rig.step();
        assert_eq!(rig.scripts(), before);
        assert_eq!(closed.state(), State::Closed);
    }
}

/// A replica that starts has restored a state, and told it a server that had evicted the newer one.
#[needs::programs("redis-server")]
#[test]
fn a_replica_that_is_told_an_older_state_than_its_own_tells_its_own_once() {
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let breaker = rig.add("a", Rig::config());
    rest(&mut rig);
    let learn = |rig: &mut Rig, number, state| {
        let fence = Fence { number, token: 7 };
        let record = Record { fence, state, by_hand: true, ..Record::NONE };
        let answer = rig.other("a", Request::Join(record));
        let news = News { name: "a".into(), record, lasts: None, remark: None };
        let received = Instant::now();
        rig.agent.take(Message::News { news: vec![news], now: answer.now, received, serial: 0 });
        rest(rig);
        record
    };
    let newer = learn(&mut rig, 2, State::Closed);
    rig.server.command(&["DEL", KEY]);
    let older = learn(&mut rig, 1, State::ForcedOpen);
    assert_eq!((rig.record("a"), breaker.state()), (older, State::Closed));
    for scripts in [1, 0] {
        let before = rig.scripts();
        tell_again(&mut rig);
        assert_eq!(rig.scripts() - before, scripts);
        assert_eq!((rig.record("a"), breaker.state()), (newer, State::Closed));
    }
}

#[needs::programs("redis-server")]
#[test]
fn a_server_that_has_evicted_a_vote_is_told_it_again() {
    let Some(mut rig) = Rig::start(Agreement::replicas(2)) else { return };
    let breaker = rig.add("a", Rig::config());
    rest(&mut rig);
    // Against no state, and against one that the server does not know any more.
    for has_state in [false, true] {
        if has_state {
            let request = Request::Set { token: 7, state: State::Closed, lasts: None, opens: 0 };
            let answer = rig.other("a", request);
            let view = rig.view(&breaker);
            rig.shared(&breaker).entry.learn(answer.record, answer.now, &view);
            rest(&mut rig);
        }
        breaker.fail();
        rig.until("its vote is counted", |rig| rig.votes("a").len() == 1);
        rest(&mut rig);
        rig.server.command(&["DEL", KEY]);
        // Whatever the others do: it is this replica's vote.
        rig.agent.last_beat.as_mut().unwrap().replicas = 1_000_000;
        tell_again(&mut rig);
        rig.until("it is counted again", |rig| rig.votes("a").len() == 1);
    }
}

/// A hundred replicas of 10,000 breakers that are disabled would be too much for a server.
#[needs::programs("redis-server")]
#[test]
fn one_of_the_replicas_that_are_present_tells_again_what_lasts() {
    const ROUNDS: usize = 300;
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let breaker = rig.add("a", Rig::config());
    rest(&mut rig);
    breaker.force_open();
    rig.until("it is stored", |rig| rig.field("a", "s") == "forced_open");
    rest(&mut rig);
    let mut tells = |replicas| {
        rig.agent.last_beat.as_mut().unwrap().replicas = replicas;
        let (mut told, mut pauses) = (0, Vec::new());
        for _ in 0..ROUNDS {
            let now = Instant::now();
            rig.agent.rounds.tell_at = now;
            rig.agent.tell_again(now);
            pauses.push(rig.agent.rounds.tell_at - now);
            told += usize::from(rig.agent.rounds.is_joining());
            rig.agent.rounds.has_joined(breaker.id);
        }
        pauses.sort_unstable();
        assert!(pauses[0] < pauses[ROUNDS - 1] / 2, "not all at one moment");
        told
    };
    assert_eq!(tells(1), ROUNDS);
    // Three, as a rule.
    assert!(tells(100) < ROUNDS / 5);
}

#[needs::programs("redis-server")]
#[test]
fn a_state_set_by_hand_whose_time_is_over_is_not_told_again() {
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let breaker = rig.add("a", Rig::config());
    rest(&mut rig);
    for (token, lasts, state, scripts) in
        [(7, micros(LONG), State::ForcedOpen, 1), (8, 1, State::Closed, 0)]
    {
        let request =
            Request::Set { token, state: State::ForcedOpen, lasts: Some(lasts), opens: 0 };
        let answer = rig.other("a", request);
        let view = rig.view(&breaker);
        rig.shared(&breaker).entry.learn(answer.record, answer.now, &view);
        rig.until("the state is there", |_| breaker.state() == state);
        rest(&mut rig);
        assert_eq!(rig.shared(&breaker).entry.member.seen().fence, answer.record.fence);
        let before = rig.scripts();
        tell_again(&mut rig);
        assert_eq!(rig.scripts() - before, scripts, "{lasts} \u{b5}s");
    }
}
