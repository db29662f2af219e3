//! The rules of the protocol, one by one.

use super::server::Server;
use crate::{
    fleet::protocol::{
        command::{Answer, FleetCommand, Request, Status, Voter},
        fence::Fence,
        member::{Cause, Decision, Member, Next, Terms},
        record::Record,
    },
    state::State,
};

pub(super) const TERMS: Terms =
    Terms { voter: Voter::of(1), quorum: 1, needed: 1, rate: None, next_open_time: 10 };

pub(super) fn trip(until: u64) -> Decision {
    Decision { cause: Cause::Trip, state: State::Open, until: Some(until), opens: 1 }
}

pub(super) fn open(number: u64, until: u64) -> Record {
    let fence = Fence { number, token: 9 };
    Record { fence, state: State::Open, until: Some(until), opens: 1, by_hand: false }
}

#[test]
fn fences_are_ordered_by_number_then_by_token() {
    let fence = |number, token| Fence { number, token };
    assert!(fence(2, 1) > fence(1, 9));
    assert!(fence(2, 2) > fence(2, 1));
    assert!(fence(1, 0) > Fence::NONE);
}

#[test]
fn a_vote_is_for_what_is_left_of_the_open_time_and_lapses_with_it() {
    let member = Member::new();
    let command = member.submit(&trip(110), &TERMS, 7, 104).unwrap();
    let Request::Vote { open_for, .. } = command.request else { panic!() };
    assert_eq!(open_for, 6);
    assert_eq!(member.submit(&trip(110), &TERMS, 7, 110), None);
}

#[test]
fn a_recovery_alone_closes_the_circuit_of_a_fleet_that_is_half_open_and_no_other() {
    let mut member = Member::new();
    let recovered =
        Decision { cause: Cause::RecoveredAlone, state: State::Closed, until: None, opens: 0 };
    assert_eq!(member.submit(&recovered, &TERMS, 7, 10), None, "the fleet was never open");
    assert!(member.learn(open(3, 100)));
    assert_eq!(member.submit(&recovered, &TERMS, 7, 99), None);
    let command = member.submit(&recovered, &TERMS, 7, 100).unwrap();

    let mut server = Server::default();
    assert_eq!(server.apply(100, &command).0.status, Status::Behind);
    server.apply(90, &FleetCommand { seen: Fence::NONE, request: Request::Join(open(3, 10)) });
    assert_eq!(server.apply(99, &command).0.status, Status::Void);
    let (answer, is_published) = server.apply(100, &command);
    assert!(is_published);
    assert_eq!((answer.record.state, answer.record.fence.number), (State::Closed, 4));
    let Next::Adopt(record) = member.conclude(&recovered, &answer, 100) else { panic!() };
    assert_eq!(record, answer.record);
}

#[test]
fn a_decision_that_came_too_late_is_submitted_again_as_it_was() {
    let mut member = Member::new();
    assert!(member.learn(open(3, 100)));
    let recovered =
        Decision { cause: Cause::RecoveredAlone, state: State::Closed, until: None, opens: 0 };
    // Meanwhile another replica has tripped.
    let mut server = Server::default();
    server.apply(100, &FleetCommand { seen: Fence::NONE, request: Request::Join(open(4, 10)) });
    let late = Answer { status: Status::Late, record: server.record(), now: 100 };
    assert_eq!(member.conclude(&recovered, &late, 100), Next::Again);
    let command = member.submit(&recovered, &TERMS, 7, 101).unwrap();
    let (answer, _) = server.apply(101, &command);
    assert_eq!(answer.status, Status::Stale);
    assert_eq!(member.conclude(&recovered, &answer, 101), Next::Adopt(open(4, 110)));
}

#[test]
fn a_vote_that_was_counted_against_an_older_state_yields_to_the_newest() {
    let terms = Terms { quorum: 2, ..TERMS };
    let (mut server, mut member) = (Server::default(), Member::new());
    let decision = trip(110);
    let command = member.submit(&decision, &terms, 7, 100).unwrap();
    let (answer, _) = server.apply(100, &command);
    assert_eq!(answer.status, Status::Counted);
    // The news of a state that followed were faster than the answer.
    assert!(member.learn(open(1, 120)));
    assert_eq!(member.conclude(&decision, &answer, 100), Next::Adopt(open(1, 120)));
}

#[test]
fn the_end_of_a_state_is_put_right_after_the_clock_has_gone_back() {
    let second = 1_000_000;
    let (mut first, mut server) = (Member::new(), Server::default());
    let decision = trip(10 * second);
    let command = first.submit(&decision, &TERMS, 7, 0).unwrap();
    let (answer, _) = server.apply(100 * second, &command);
    assert!(matches!(first.conclude(&decision, &answer, 0), Next::Adopt(_)));
    // After eight seconds it has gone back by an hour, and another replica asks for the state.
    let mut second_one = Member::new();
    let (answer, _) = server.apply(50 * second, &second_one.join(8 * second));
    assert!(second_one.learn(answer.record.rebased(answer.now, 8 * second)));
    assert_eq!(second_one.seen().until, Some(18 * second));
    let (answer, is_published) = server.apply(50 * second, &first.limit(8 * second).unwrap());
    assert!(is_published);
    let news = answer.record.rebased(answer.now, 8 * second);
    assert!(second_one.learn(news));
    assert_eq!(second_one.seen().until, Some(10 * second));
    // Once is enough.
    assert!(!second_one.learn(news));
    assert!(!server.apply(50 * second, &first.limit(8 * second).unwrap()).1);
}

#[test]
fn a_state_is_not_ended_by_a_replica_that_takes_another_for_the_newest() {
    let (mut member, mut server) = (Member::new(), Server::default());
    let second = 1_000_000;
    assert!(member.learn(open(3, second)));
    let limit = member.limit(2 * second).unwrap();
    assert_eq!(server.apply(0, &limit).0.status, Status::Behind);
    server.apply(
        0,
        &FleetCommand { seen: Fence::NONE, request: Request::Join(open(4, 10 * second)) },
    );
    let (answer, is_published) = server.apply(0, &limit);
    assert_eq!((answer.status, is_published), (Status::Stale, false));
    assert_eq!(answer.record.until, Some(10 * second));
    assert!(!member.learn(Record { until: Some(0), ..open(2, 0) }));
}

#[test]
fn old_news_and_missing_keys_change_nothing() {
    let mut member = Member::new();
    assert!(member.learn(open(3, 100)));
    for old in [open(3, 100), open(2, 500), Record::NONE] {
        assert!(!member.learn(old));
    }
    assert_eq!(member.seen(), &open(3, 100));
}

#[test]
fn news_that_come_twice_change_a_replica_once() {
    let mut member = Member::new();
    let news = open(1, 100);
    assert!(member.learn(news));
    assert!(!member.learn(news));
}

#[test]
fn a_trip_stands_against_a_recovery_that_the_replica_had_not_heard_of() {
    let (mut server, mut member) = (Server::default(), Member::new());
    let closed = Record { fence: Fence { number: 5, token: 1 }, ..Record::NONE };
    server.apply(1, &FleetCommand { seen: Fence::NONE, request: Request::Join(closed) });
    let decision = trip(20);
    let command = member.submit(&decision, &TERMS, 7, 10).unwrap();
    let (answer, _) = server.apply(10, &command);
    assert_eq!(answer.status, Status::Stale);
    assert_eq!(member.conclude(&decision, &answer, 10), Next::Again);
    let command = member.submit(&decision, &TERMS, 8, 11).unwrap();
    let (answer, is_published) = server.apply(11, &command);
    assert!(is_published);
    assert_eq!(answer.record.fence, Fence { number: 6, token: 8 });
    assert!(matches!(member.conclude(&decision, &answer, 11), Next::Adopt(_)));
}

#[test]
fn a_restored_state_yields_to_what_the_fleet_knows() {
    let (mut server, mut member) = (Server::default(), Member::new());
    let closed = Record { fence: Fence { number: 5, token: 1 }, ..Record::NONE };
    server.apply(1, &FleetCommand { seen: Fence::NONE, request: Request::Join(closed) });
    let decision = Decision { cause: Cause::Restored, ..trip(20) };
    let command = member.submit(&decision, &TERMS, 7, 10).unwrap();
    let (answer, _) = server.apply(10, &command);
    assert_eq!(member.conclude(&decision, &answer, 10), Next::Adopt(closed));
}

#[test]
fn a_restored_state_is_told_to_a_server_that_knows_none_and_replaces_none_that_it_knows() {
    let restored = |state, until| Decision { cause: Cause::Restored, state, until, opens: 3 };
    for (state, until, told) in [
        (State::ForcedOpen, None, Some((State::ForcedOpen, None))),
        (State::Disabled, Some(110), Some((State::Disabled, Some(1010)))),
        (State::Disabled, Some(100), None),
        (State::Open, Some(110), Some((State::Open, Some(1010)))),
        // The open time is over: the circuit is half-open for all, at once.
        (State::Open, Some(90), Some((State::Open, Some(1001)))),
        (State::HalfOpen, None, Some((State::Open, Some(1001)))),
        (State::Closed, None, None),
    ] {
        let (mut server, mut member) = (Server::default(), Member::new());
        let decision = restored(state, until);
        let command = member.submit(&decision, &TERMS, 7, 100);
        let answer = command.map(|command| server.apply(1000, &command).0);
        let record = answer.map(|answer| (answer.record.state, answer.record.until));
        assert_eq!(record, told, "{state:?} {until:?}");
        let (Some(command), Some(answer)) = (command, answer) else { continue };
        assert_eq!((answer.record.fence.number, answer.record.opens), (1, 3));
        let Next::Adopt(adopted) = member.conclude(&decision, &answer, 100) else { panic!() };
        assert_eq!(adopted.fence, answer.record.fence);
        // A later state is not replaced.
        let mut server = Server::default();
        let closed = Record { fence: Fence { number: 2, token: 1 }, ..Record::NONE };
        server.apply(1000, &FleetCommand { seen: Fence::NONE, request: Request::Join(closed) });
        let (answer, is_published) = server.apply(1000, &command);
        assert_eq!((answer.record, is_published), (closed, false));
        let conclusion = Member::new().conclude(&decision, &answer, 100);
        assert_eq!(conclusion, Next::Adopt(closed));
    }
    // Where replicas must agree, an open time that is over is no vote.
    let terms = Terms { quorum: 2, ..TERMS };
    for (state, until) in [(State::Open, Some(90)), (State::HalfOpen, None)] {
        assert_eq!(Member::new().submit(&restored(state, until), &terms, 7, 100), None);
    }
}

#[test]
fn votes_of_one_replica_count_once_and_lapsed_ones_not_at_all() {
    let mut server = Server::default();
    let mut vote = |now, voter| {
        let request = Request::Vote {
            voter: Voter::of(voter),
            token: now,
            open_for: 10,
            opens: 1,
            quorum: 2,
        };
        server.apply(now, &FleetCommand { seen: Fence::NONE, request }).0.status
    };
    assert_eq!(vote(1, 1), Status::Counted);
    assert_eq!(vote(2, 1), Status::Counted);
    // The first one's vote lapsed at 12.
    assert_eq!(vote(12, 2), Status::Counted);
    assert_eq!(vote(15, 1), Status::Done);
}

#[test]
fn no_vote_outlasts_its_voters_open_time_although_the_clock_steps() {
    let terms = Terms { quorum: 2, ..TERMS };
    for stepped in [100, 100_000] {
        let (mut server, member) = (Server::default(), Member::new());
        // The server's clock is 1,000 ahead of the voter's, which trips at 5 for 10.
        let decision = trip(15);
        let command = member.submit(&decision, &terms, 7, 5).unwrap();
        assert_eq!(server.apply(1005, &command).0.status, Status::Counted);
        let vote = member.cast_vote(&decision).unwrap();
        // At 9 it is noticed that the server's clock has stepped.
        let command = member.recast(&vote, &terms, 8, 9).unwrap();
        assert_eq!(server.apply(stepped, &command).0.status, Status::Counted);
        let other = |now: u64, server: &mut Server| {
            let request =
                Request::Vote { voter: Voter::of(2), token: now, open_for: 1, opens: 1, quorum: 2 };
            server.apply(now, &FleetCommand { seen: Fence::NONE, request }).0.status
        };
        // Until 15 by the voter's clock it counts, and then no more.
        assert_eq!(other(stepped + 6, &mut server.clone()), Status::Counted);
        assert_eq!(other(stepped + 5, &mut server), Status::Done);
    }
}

#[test]
fn a_vote_that_has_lapsed_is_withdrawn_and_one_that_was_decided_is_not_cast_again() {
    let terms = Terms { quorum: 2, ..TERMS };
    let (mut server, mut member) = (Server::default(), Member::new());
    let decision = trip(15);
    let command = member.submit(&decision, &terms, 7, 5).unwrap();
    server.apply(1005, &command);
    let vote = member.cast_vote(&decision).unwrap();
    let command = member.recast(&vote, &terms, 8, 15).unwrap();
    assert_eq!(server.apply(100, &command).0.status, Status::Counted);
    assert!(server.entry.as_ref().unwrap().votes.is_empty());
    assert!(member.learn(open(1, 100)));
    assert_eq!(member.recast(&vote, &terms, 9, 10), None);
}

#[test]
fn the_votes_of_one_replicas_breakers_count_once_and_each_takes_its_own_back() {
    let mut server = Server::default();
    let mut vote = |replica, breaker, open_for| {
        let voter = Voter { replica, breaker };
        let request = Request::Vote { voter, token: 7, open_for, opens: 1, quorum: 2 };
        server.apply(100, &FleetCommand { seen: Fence::NONE, request }).0.status
    };
    assert_eq!(vote(1, 1, 50), Status::Counted);
    // Its successor has the same id.
    assert_eq!(vote(1, 2, 50), Status::Counted);
    assert_eq!(vote(1, 1, 0), Status::Counted);
    // The vote of the one that lives counts.
    assert_eq!(vote(2, 1, 50), Status::Done);
}

#[test]
fn a_vote_that_is_taken_back_opens_nothing_under_another_replicas_quorum() {
    let mut server = Server::default();
    let mut vote = |voter, open_for, quorum| {
        let request =
            Request::Vote { voter: Voter::of(voter), token: voter, open_for, opens: 1, quorum };
        server.apply(100, &FleetCommand { seen: Fence::NONE, request })
    };
    // The first two wait for a third one; the third one's fleet needs two.
    assert_eq!(vote(1, 50, 3).0.status, Status::Counted);
    assert_eq!(vote(2, 50, 3).0.status, Status::Counted);
    let (answer, is_published) = vote(3, 0, 2);
    assert_eq!((answer.status, answer.record), (Status::Counted, Record::NONE));
    assert!(!is_published);
    // Cast, it opens.
    assert_eq!(vote(3, 50, 2).0.record.state, State::Open);
}

#[test]
fn no_vote_or_lease_lasts_for_longer_than_it_was_meant_to_although_the_clock_goes_back() {
    let mut server = Server::default();
    let half_open = open(1, 0);
    server.apply(1_000, &FleetCommand { seen: Fence::NONE, request: Request::Join(half_open) });
    let mut ask = |now, lease| {
        let request = Request::Lease { lease, lasts: 10, max: 1 };
        server.apply(now, &FleetCommand { seen: half_open.fence, request }).0.status
    };
    assert_eq!(ask(1_000, 1), Status::Granted { is_wanted: false });
    assert_eq!(ask(1_001, 2), Status::Denied { until: 1_010 });
    let mut votes = Server::default();
    let mut vote = |now, voter| {
        let request = Request::Vote {
            voter: Voter::of(voter),
            token: now,
            open_for: 10,
            opens: 1,
            quorum: 3,
        };
        votes.apply(now, &FleetCommand { seen: Fence::NONE, request });
        votes.entry.as_ref().map(|entry| entry.votes.len())
    };
    assert_eq!(vote(1_000, 1), Some(1));
    // An hour back: the first one counts from here for as long as it was meant to.
    assert_eq!(vote(500, 2), Some(2));
    assert_eq!(vote(510, 2), Some(1));
}

#[test]
fn what_lasts_is_rebased_from_one_clock_to_another() {
    let record = open(1, 1_000).rebased(400, 7);
    assert_eq!(record.until, Some(607));
    assert_eq!((record.state_at(606), record.state_at(607)), (State::Open, State::HalfOpen));
    let forced = Record { state: State::ForcedOpen, ..record };
    assert_eq!((forced.state_at(606), forced.state_at(607)), (State::ForcedOpen, State::Closed));
}
