//! What an operator says about a change by hand is known on every replica.

use tower_breaker::{
    Breaker, ManualChange, MemoryStore, State,
    event::{Event, Transition},
};

use crate::{
    replica::{fleet, joined, reaches, replica, settings},
    support::{redis::RedisServer, wait::eventually},
};

const NAME: &str = "payments";
const KEY: &str = "circuit_breaker:{0}:fleet:payments:breaker";

fn change() -> ManualChange {
    ManualChange::new().by("on-call").note("double charges, \"4711\"\nü")
}

/// By whom the state of a breaker was set, and why.
fn said(breaker: &Breaker) -> [Option<String>; 2] {
    let snapshot = breaker.snapshot();
    [snapshot.by, snapshot.note].map(|text| text.map(|text| text.to_string()))
}

#[track_caller]
fn says(breaker: &Breaker, by: &str) {
    eventually(by, || said(breaker)[0].as_deref() == Some(by));
}

fn transition(event: Event) -> Option<Transition> {
    if let Event::Transition(transition) = event { Some(transition) } else { None }
}

#[needs::programs("redis-server")]
#[test]
fn who_changes_a_state_by_hand_and_why_is_known_on_every_replica() {
    let Some(server) = RedisServer::start() else { return };
    let [here, other] = [(); 2].map(|()| replica(&server, NAME));
    let mut events = other.subscribe();
    let mut next = || {
        let mut found = None;
        eventually("a transition", || {
            found = events.try_recv().ok().and_then(transition);
            found.is_some()
        });
        found.unwrap()
    };
    here.force_open_with(change());
    let opened = next();
    assert_eq!(opened.to, State::ForcedOpen);
    assert!(opened.manual);
    assert_eq!(opened.by.as_deref(), Some("on-call"));
    assert_eq!(opened.note.as_deref(), Some("double charges, \"4711\"\nü"));
    assert_eq!(said(&other), said(&here));

    let late = replica(&server, NAME);
    reaches(&[&late], State::ForcedOpen);
    assert_eq!(said(&late), said(&here), "it has joined since");

    // The same state, for which there is another reason.
    late.force_open_with(ManualChange::new().by("second shift"));
    says(&here, "second shift");
    says(&other, "second shift");

    here.reset_with(ManualChange::new().by("third shift"));
    let closed = next();
    assert_eq!((closed.to, closed.by.as_deref()), (State::Closed, Some("third shift")));
    assert_eq!(closed.note, None);
    reaches(&[&late], State::Closed);
    here.trip();
    let opened = next();
    assert_eq!((opened.to, opened.by), (State::Open, None));
    assert_eq!(server.command(&["HGET", KEY, "r"]), "(nil)", "it belongs to the state before");
}

#[needs::programs("redis-server")]
#[test]
fn a_server_that_has_forgotten_a_state_is_told_again_who_has_set_it_and_why() {
    let Some(server) = RedisServer::start() else { return };
    let store = MemoryStore::new();
    let with_store = || {
        let fleet = fleet(&server).build().unwrap();
        let breaker = settings(NAME).store(store.clone()).shared(fleet).build().unwrap();
        joined(&breaker);
        breaker
    };
    let first = with_store();
    first.force_open_with(change());
    let other = replica(&server, NAME);
    says(&other, "on-call");
    drop(first);
    server.command(&["FLUSHALL"]);
    eventually("a replica tells it", || server.command(&["HGET", KEY, "r"]).contains("on-call"));
    drop(other);
    server.command(&["FLUSHALL"]);
    let restored = with_store();
    reaches(&[&restored], State::ForcedOpen);
    says(&replica(&server, NAME), "on-call");
}
