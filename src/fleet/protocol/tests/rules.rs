//! The rules of the protocol, one by one.

use super::server::Server;
use crate::{
    fleet::protocol::{
        command::{Command, Request, Status},
        fence::Fence,
        member::{Cause, Decision, Member, Next, Terms},
        record::Record,
    },
    state::State,
};

const TERMS: Terms = Terms { voter: 1, quorum: 1, needed: 1, rate: None, next_open_time: 10 };

fn trip(until: u64) -> Decision {
    Decision { cause: Cause::Trip, state: State::Open, until: Some(until), opens: 1 }
}

fn open(number: u64, until: u64) -> Record {
    let fence = Fence { number, token: 9 };
    Record { fence, state: State::Open, until: Some(until), opens: 1 }
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
    server.apply(90, &Command { seen: Fence::NONE, request: Request::Join(open(3, 10)) });
    assert_eq!(server.apply(99, &command).0.status, Status::Void);
    let (answer, is_published) = server.apply(100, &command);
    assert!(is_published);
    assert_eq!((answer.record.state, answer.record.fence.number), (State::Closed, 4));
    let Next::Adopt(record) = member.conclude(&recovered, &answer, 100) else { panic!() };
    assert_eq!(record, answer.record);
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
    server.apply(1, &Command { seen: Fence::NONE, request: Request::Join(closed) });
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
    server.apply(1, &Command { seen: Fence::NONE, request: Request::Join(closed) });
    let decision = Decision { cause: Cause::Restored, ..trip(20) };
    let command = member.submit(&decision, &TERMS, 7, 10).unwrap();
    let (answer, _) = server.apply(10, &command);
    assert_eq!(member.conclude(&decision, &answer, 10), Next::Adopt(closed));
}

#[test]
fn votes_of_one_replica_count_once_and_lapsed_ones_not_at_all() {
    let mut server = Server::default();
    let mut vote = |now, voter| {
        let request = Request::Vote { voter, token: now, open_for: 10, opens: 1, quorum: 2 };
        server.apply(now, &Command { seen: Fence::NONE, request }).0.status
    };
    assert_eq!(vote(1, 1), Status::Counted);
    assert_eq!(vote(2, 1), Status::Counted);
    // The first one's vote lapsed at 12.
    assert_eq!(vote(12, 2), Status::Counted);
    assert_eq!(vote(15, 1), Status::Done);
}

#[test]
fn what_lasts_is_rebased_from_one_clock_to_another() {
    let record = open(1, 1_000).rebased(400, 7);
    assert_eq!(record.until, Some(607));
    assert_eq!((record.state_at(606), record.state_at(607)), (State::Open, State::HalfOpen));
    let forced = Record { state: State::ForcedOpen, ..record };
    assert_eq!((forced.state_at(606), forced.state_at(607)), (State::ForcedOpen, State::Closed));
}
