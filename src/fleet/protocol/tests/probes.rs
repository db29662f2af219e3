//! The rules about the results of probes, and their leases.

use super::{
    rules::{TERMS, open, trip},
    server::Server,
};
use crate::{
    fleet::protocol::{
        command::{FleetCommand, Request, Status, Verdict, Voter},
        fence::Fence,
        member::{Cause, Decision, Member, Next, Terms},
    },
    state::State,
};

/// A lease that no other replica wants.
const GRANTED: Status = Status::Granted { is_wanted: false };

/// Two successes close the circuit.
const TWO: Terms = Terms { needed: 2, ..TERMS };

fn success(serial: u64, state: State) -> Decision {
    let cause = Cause::Probe { lease: 5, serial, verdict: Verdict::Good };
    Decision { cause, state, until: None, opens: 0 }
}

/// A server with a half-open circuit, and a replica with a lease.
fn probing() -> (Server, Member) {
    let (mut server, mut member) = (Server::default(), Member::new());
    assert!(member.learn(open(3, 100)));
    server.apply(100, &FleetCommand { seen: Fence::NONE, request: Request::Join(open(3, 0)) });
    let lease = member.command(Request::Lease { lease: 5, lasts: 50, max: 2 });
    assert_eq!(server.apply(100, &lease).0.status, GRANTED);
    (server, member)
}

#[test]
fn a_result_that_is_sent_again_counts_once() {
    let (mut server, member) = probing();
    for (serial, good) in [(1, 1), (1, 1), (2, 2), (1, 2), (2, 2)] {
        let result = success(serial, State::HalfOpen);
        let terms = Terms { needed: 9, ..TERMS };
        let command = member.submit(&result, &terms, 7, 101).unwrap();
        assert_eq!(server.apply(101, &command).0.status, Status::Counted);
        assert_eq!(server.entry.as_ref().unwrap().good, good);
        // Also after a renewal of its lease.
        let renewal = member.command(Request::Lease { lease: 5, lasts: 50, max: 2 });
        assert_eq!(server.apply(101, &renewal).0.status, GRANTED);
    }
}

#[test]
fn a_holder_of_a_lease_is_told_once_that_others_ask_for_it_again_and_again() {
    let (mut server, member) = probing();
    let mut ask = |lease| {
        let command = member.command(Request::Lease { lease, lasts: 50, max: 1 });
        server.apply(101, &command).0.status
    };
    let denied = Status::Denied { until: 150 };
    assert_eq!((ask(6), ask(5)), (denied, GRANTED), "once is not enough");
    assert_eq!(ask(6), Status::Denied { until: 151 });
    assert_eq!(ask(6), Status::Denied { until: 151 });
    assert_eq!(ask(5), Status::Granted { is_wanted: true });
    assert_eq!(ask(5), GRANTED);
}

#[test]
fn a_replica_whose_result_does_not_decide_for_the_server_yields_to_its_state() {
    let (mut server, mut member) = probing();
    // The first result was counted by a server that has lost that.
    let closed = success(2, State::Closed);
    let command = member.submit(&closed, &TWO, 7, 101).unwrap();
    let (answer, is_published) = server.apply(101, &command);
    assert_eq!((answer.status, is_published), (Status::Counted, false));
    let Next::Adopt(record) = member.conclude(&closed, &answer, 101) else { panic!() };
    assert_eq!(record.state_at(101), State::HalfOpen);
    assert_eq!(member.cast_vote(&closed), None);
    let failed = Decision { state: State::Open, until: Some(200), ..closed };
    assert_eq!(member.cast_vote(&failed), None);
}

#[test]
fn a_vote_that_is_taken_back_opens_nothing_where_one_suffices() {
    let (mut server, member) = probing();
    let vote = member.cast_vote(&trip(200)).unwrap();
    let command = member.withdraw(&vote, Voter::of(1), 1).unwrap();
    let (answer, is_published) = server.apply(101, &command);
    assert_eq!((answer.status, is_published), (Status::Counted, false));
    assert!(server.apply(101, &member.submit(&trip(200), &TERMS, 7, 101).unwrap()).1);
}
