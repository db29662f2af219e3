//! Answers that are lost, late, or of a server that has forgotten what it knew.

use super::{
    rig::{Breaker, LONG, Rig, TOO_SHORT},
    *,
};
use crate::{
    config::Config,
    fleet::{
        entry::Submission,
        protocol::{
            command::{FleetCommand, Request, Status},
            fence::Fence,
        },
        tests::support::wait::eventually,
        translate::to_micros,
    },
    state::State,
};

/// A breaker that has joined.
fn joined(rig: &mut Rig, config: Config) -> Breaker {
    let breaker = rig.add("a", config);
    rig.step();
    assert!(rig.shared(&breaker).is_attached);
    breaker
}

/// The server carries out what the machine has decided, and the answer is lost. Returns the fence.
fn lose_answer(rig: &mut Rig, breaker: &Breaker) -> Fence {
    rig.take_messages();
    let view = rig.view(breaker);
    let settings = Arc::clone(&rig.agent.settings);
    let submission = rig.shared(breaker).entry.submission(&view, &settings);
    let Submission::Send { command, .. } = submission else { panic!("nothing to send") };
    let answer = rig.agent.transport.call("a", command).unwrap();
    assert_eq!(answer.status, Status::Done);
    answer.record.fence
}

#[needs::programs("redis-server")]
#[test]
fn a_state_set_by_hand_whose_answer_was_lost_does_not_replace_a_newer_one() {
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let breaker = joined(&mut rig, Rig::config());
    breaker.force_open();
    lose_answer(&mut rig, &breaker);
    let request = Request::Set { token: 7, state: State::Disabled, lasts: None, opens: 0 };
    let newer = rig.other("a", request).record;
    // The first that the replica hears is the newer one.
    rig.agent.go_alone("the answer was lost");
    rig.until("it joins again, and has told all", |rig| {
        rig.agent.link == Link::Joined && rig.agent.changed.is_empty()
    });
    assert_eq!(breaker.state(), State::Disabled);
    assert_eq!(rig.record("a"), newer);
    // So it is after a third one.
    let request = Request::Set { token: 9, state: State::Closed, lasts: None, opens: 0 };
    let newest = rig.other("a", request).record;
    let view = rig.view(&breaker);
    rig.shared(&breaker).entry.learn(newest, to_micros(view.now), &view);
    assert_eq!(breaker.state(), State::Closed);
}

#[needs::programs("redis-server")]
#[test]
fn a_state_set_by_hand_that_is_known_by_its_token_is_not_sent_again() {
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let breaker = joined(&mut rig, Rig::config());
    breaker.force_open();
    let fence = lose_answer(&mut rig, &breaker);
    let request = Request::Set { token: 7, state: State::Disabled, lasts: None, opens: 0 };
    let (own, newer) = (rig.record("a"), rig.other("a", request).record);
    assert_eq!(own.fence, fence);
    // Both come as news, in order.
    for record in [own, newer] {
        let view = rig.view(&breaker);
        rig.shared(&breaker).entry.learn(record, to_micros(view.now), &view);
    }
    assert_eq!(breaker.state(), State::Disabled);
    assert_eq!(rig.view(&breaker).decided, None);
}

#[needs::programs("redis-server")]
#[test]
fn what_stays_late_is_sent_again_with_growing_pauses_and_arrives_at_last() {
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let breaker = joined(&mut rig, Rig::config());
    rig.agent.transport.timeout = TOO_SHORT;
    breaker.fail();
    let before = rig.scripts();
    let began = Instant::now();
    rig.until("a while has passed", |_| began.elapsed() > Duration::from_millis(700));
    let sent = rig.scripts() - before;
    // 20, 40, 80, 160, 320 ms, or half of that. On a busy machine fewer.
    assert!((2..=10).contains(&sent), "{sent} scripts");
    assert_eq!(rig.field("a", "s"), "(nil)");
    rig.agent.transport.timeout = LONG;
    rig.until("the trip arrives", |rig| rig.field("a", "s") == "open");
    rig.step();
    assert_eq!(rig.shared(&breaker).paused_until, None);
}

#[needs::programs("redis-server")]
#[test]
fn a_decision_whose_pause_ended_during_the_turns_of_others_is_sent_again() {
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let breaker = joined(&mut rig, Rig::config());
    rig.agent.transport.timeout = TOO_SHORT;
    breaker.fail();
    rig.step();
    rig.agent.transport.timeout = LONG;
    let until = rig.shared(&breaker).paused_until.expect("it came too late");
    // Only now it is this breaker's turn to be looked at later.
    eventually("the pause has ended", || until < Instant::now());
    rig.agent.schedule_recheck(breaker.id);
    assert!(!rig.agent.later.is_empty());
    rig.until("the trip arrives", |rig| rig.field("a", "s") == "open");
}

#[needs::programs("redis-server")]
#[test]
fn a_vote_that_is_cast_again_too_late_is_cast_once_more() {
    let Some(mut rig) = Rig::start(Agreement::replicas(2)) else { return };
    let breaker = joined(&mut rig, Rig::config());
    breaker.fail();
    rig.until("its vote is counted", |rig| !rig.votes("a").is_empty());
    let vote = &rig.votes("a")[0];
    rig.server.command(&["HDEL", "circuit_breaker:{0}:fleet:a:breaker", vote]);
    rig.agent.transport.timeout = TOO_SHORT;
    rig.agent.rounds.must_reassert = true;
    let (before, began) = (rig.scripts(), Instant::now());
    rig.until("a while has passed", |rig| {
        rig.agent.changed.is_empty() && began.elapsed() > Duration::from_millis(300)
    });
    let sent = rig.scripts() - before;
    assert!((1..=10).contains(&sent), "{sent} scripts");
    assert!(rig.agent.rounds.reasserts());
    assert!(rig.votes("a").is_empty());
    rig.agent.transport.timeout = LONG;
    rig.until("its vote is counted again", |rig| !rig.votes("a").is_empty());
    assert!(!rig.agent.rounds.reasserts());
}

/// A half-open circuit that many results decide, with `results` of them that were not sent.
fn with_results(rig: &mut Rig, results: usize) -> Breaker {
    let mut config = Rig::config();
    config.recovery_timeout = Duration::from_millis(50);
    config.success_threshold = 100;
    config.half_open_max_calls = Some(1);
    config.half_open_failure_rate = Some(0.5);
    let breaker = joined(rig, config);
    breaker.fail();
    rig.until("it is half-open", |_| breaker.state() == State::HalfOpen);
    let mut sent = 0;
    rig.until("a probe is admitted", |_| {
        let permit = breaker.permit();
        sent += usize::from(permit.is_some());
        permit.into_iter().for_each(crate::breaker::permit::Permit::success);
        sent > 0
    });
    for _ in 1..results {
        breaker.permit().unwrap().success();
    }
    assert_eq!(rig.view(&breaker).results.len(), results);
    breaker
}

#[needs::programs("redis-server")]
#[test]
fn all_results_of_probes_are_sent_however_many_there_are() {
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let breaker = with_results(&mut rig, 20);
    rig.step();
    assert_eq!(rig.view(&breaker).results, []);
    assert_eq!(rig.field("a", "g"), "20");
}

#[needs::programs("redis-server")]
#[test]
fn the_result_of_a_probe_that_comes_too_late_is_kept_and_sent_again() {
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let breaker = with_results(&mut rig, 1);
    rig.agent.transport.timeout = TOO_SHORT;
    rig.step();
    assert_eq!(rig.view(&breaker).results.len(), 1);
    rig.agent.transport.timeout = LONG;
    rig.until("it arrives", |rig| rig.field("a", "g") == "1");
    assert_eq!(rig.view(&breaker).results, []);
}

/// The first result is sent, and its answer is lost.
fn lose_result(rig: &mut Rig, breaker: &Breaker) {
    let (view, settings) = (rig.view(breaker), Arc::clone(&rig.agent.settings));
    let (_, command) = rig.shared(breaker).entry.undecided(&view, &settings).unwrap();
    assert_eq!(rig.agent.transport.call("a", command).unwrap().status, Status::Counted);
}

#[needs::programs("redis-server")]
#[test]
fn a_result_whose_answer_was_lost_counts_once() {
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let breaker = with_results(&mut rig, 2);
    lose_result(&mut rig, &breaker);
    assert_eq!(rig.field("a", "g"), "1");
    rig.agent.go_alone("the answer was lost");
    rig.until("all results are sent", |rig| {
        rig.agent.link == Link::Joined && rig.agent.changed.is_empty()
    });
    assert_eq!((rig.field("a", "g"), rig.view(&breaker).results), ("2".to_owned(), Vec::new()));
}

#[needs::programs("redis-server")]
#[test]
fn a_replica_that_closes_by_results_of_which_the_server_has_lost_some_stays_in_the_fleet() {
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let mut config = Rig::config();
    config.recovery_timeout = Duration::from_millis(50);
    config.success_threshold = 2;
    config.half_open_max_calls = Some(1);
    let breaker = joined(&mut rig, config);
    breaker.fail();
    rig.until("it is half-open", |_| breaker.state() == State::HalfOpen);
    let probe = |rig: &mut Rig| {
        let mut permit = None;
        rig.until("a probe is admitted", |_| {
            permit = permit.take().or_else(|| breaker.permit());
            permit.is_some()
        });
        permit.unwrap().success();
    };
    probe(&mut rig);
    rig.until("it is counted", |rig| rig.field("a", "g") == "1");
    rig.server.command(&["HDEL", "circuit_breaker:{0}:fleet:a:breaker", "g"]);
    probe(&mut rig);
    assert_eq!(breaker.state(), State::Closed);
    rig.until("it is counted", |rig| rig.field("a", "g") == "1");
    rig.step();
    assert_eq!(breaker.state(), State::HalfOpen, "as for the others");
    assert!(rig.view(&breaker).is_probing, "with leases");
    assert_eq!(rig.shared(&breaker).entry.vote_until(), None);
    probe(&mut rig);
    rig.until("all close", |rig| rig.field("a", "s") == "closed");
    assert_eq!(breaker.state(), State::Closed);
}

#[needs::programs("redis-server")]
#[test]
fn a_replica_without_calls_gives_a_lease_back_that_another_asks_for() {
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let breaker = with_results(&mut rig, 1);
    rig.until("the result is sent", |rig| rig.field("a", "g") == "1");
    // It was never used so far.
    for _ in 0..10 {
        rig.shared(&breaker).leases.returned(0);
    }
    let seen = rig.shared(&breaker).entry.member.seen().fence;
    let request = Request::Lease { lease: 99, lasts: micros(LONG), max: 1 };
    let asks = |rig: &mut Rig| {
        rig.step();
        std::thread::sleep(Duration::from_millis(50));
        rig.agent.transport.call("a", FleetCommand { seen, request }).unwrap().status
    };
    let began = Instant::now();
    while matches!(asks(&mut rig), Status::Denied { .. }) {
        assert!(began.elapsed() < LONG, "it keeps the lease");
    }
    assert!(rig.shared(&breaker).leases.held().is_empty());
}

#[needs::programs("redis-server")]
#[test]
fn a_server_that_has_forgotten_the_state_is_told_before_the_result_of_a_probe() {
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let breaker = with_results(&mut rig, 1);
    let fence = rig.shared(&breaker).entry.member.seen().fence;
    rig.server.command(&["DEL", "circuit_breaker:{0}:fleet:a:breaker"]);
    rig.step();
    assert_eq!(rig.record("a").fence, fence);
    // Its lease is gone, and so is the result.
    assert_eq!(rig.view(&breaker).results, []);
    assert_eq!(rig.field("a", "g"), "(nil)");
}
