//! What thousands of breakers send at once.

use super::{rig::Rig, *};
use crate::state::State;

const MANY: u32 = 200;

#[test]
fn what_many_breakers_have_decided_is_sent_in_a_few_round_trips() {
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let name = |number: u32| format!("breaker-{number}");
    let breakers: Vec<_> = (0..MANY).map(|one| rig.add(&name(one), Rig::config())).collect();
    rig.until("all have joined", |rig| rig.agent.changed.is_empty());
    breakers.iter().for_each(rig::Breaker::fail);
    rig.take_messages();
    let ids: Vec<u64> = rig.agent.changed.iter().copied().collect();
    assert_eq!(ids.len(), breakers.len());
    let before = rig.agent.transport.round_trips;
    rig.agent.settle(&ids).unwrap();
    assert_eq!(rig.agent.transport.round_trips - before, 1);
    for one in 0..MANY {
        assert_eq!(rig.field(&name(one), "s"), "open");
    }
}

#[test]
fn one_breaker_with_a_broken_key_does_not_keep_others_of_its_batch_from_the_server() {
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let [first, broken, last] = ["a", "b", "c"].map(|name| rig.add(name, Rig::config()));
    rig.until("all have joined", |rig| rig.agent.changed.is_empty());
    rig.server.command(&["SET", "circuit_breaker:{0}:fleet:breaker:b", "no hash"]);
    for breaker in [&first, &broken, &last] {
        breaker.fail();
    }
    rig.step();
    assert_eq!((rig.field("a", "s"), rig.field("c", "s")), ("open".into(), "open".into()));
    assert!(rig.shared(&broken).is_left_out);
    assert!(!rig.shared(&first).is_left_out && !rig.shared(&last).is_left_out);
}

#[test]
fn a_replica_that_trips_after_the_fleets_circuit_has_opened_sends_nothing() {
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let breaker = rig.add("a", Rig::config());
    rig.step();
    breaker.fail();
    // Another one was faster, and its news have come.
    let request = crate::fleet::protocol::command::Request::Vote {
        voter: 2,
        token: 7,
        open_for: 30_000_000,
        opens: 1,
        quorum: 1,
    };
    let answer = rig.other("a", request);
    let view = rig.view(&breaker);
    rig.shared(&breaker).entry.learn(answer.record, answer.now, &view);
    let before = rig.scripts();
    rig.step();
    assert_eq!(rig.scripts(), before);
    let view = rig.view(&breaker);
    assert_eq!((breaker.state(), view.decided), (State::Open, None));
    // The end of the open time is the fleet's.
    assert!(view.open_until.unwrap().since(view.now) <= Duration::from_secs(30));
}
