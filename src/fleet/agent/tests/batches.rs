//! What thousands of breakers send at once.

use super::{rig::Rig, *};
use crate::{
    fleet::{
        pace::Pace,
        protocol::{
            command::{Request, Voter},
            record::Record,
        },
        tests::support::wait::eventually,
    },
    state::State,
};

const MANY: u32 = 200;

#[needs::programs("redis-server")]
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

#[needs::programs("redis-server")]
#[test]
fn one_breaker_with_a_broken_key_does_not_keep_others_of_its_batch_from_the_server() {
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let [first, broken, last] = ["a", "b", "c"].map(|name| rig.add(name, Rig::config()));
    rig.until("all have joined", |rig| rig.agent.changed.is_empty());
    rig.server.command(&["SET", "circuit_breaker:{0}:fleet:b:breaker", "no hash"]);
    for breaker in [&first, &broken, &last] {
        breaker.fail();
    }
    rig.step();
    assert_eq!((rig.field("a", "s"), rig.field("c", "s")), ("open".into(), "open".into()));
    assert!(rig.shared(&broken).is_left_out);
    assert!(!rig.shared(&first).is_left_out && !rig.shared(&last).is_left_out);
}

#[needs::programs("redis-server")]
#[test]
fn a_replica_that_trips_after_the_fleets_circuit_has_opened_sends_nothing() {
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let breaker = rig.add("a", Rig::config());
    rig.step();
    breaker.fail();
    // Another one was faster, and its news have come.
    let request =
        Request::Vote { voter: Voter::of(2), token: 7, open_for: 30_000_000, opens: 1, quorum: 1 };
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

#[needs::programs("redis-server")]
#[test]
fn times_are_told_as_they_are_when_each_batch_is_sent() {
    const BATCH: usize = 200;
    const PAUSE: Duration = Duration::from_secs(3);
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let name = |number: usize| format!("breaker-{number}");
    let breakers: Vec<_> = (0..BATCH + 40).map(|one| rig.add(&name(one), Rig::config())).collect();
    rig.until("all have joined", |rig| rig.agent.changed.is_empty());
    breakers.iter().for_each(rig::Breaker::fail);
    rig.take_messages();
    rig.until("all are stored", |rig| rig.agent.changed.is_empty());
    // What is left of their times now differs from their open time by more than answers take.
    std::thread::sleep(Duration::from_secs(1));
    // As if the server's clock had gone back by an hour.
    rig.server.command(&[
        "EVAL",
        "for i = 0, ARGV[1] - 1 do
           redis.call('HINCRBY', KEYS[1] .. i .. ':breaker', 'u', '3600000000')
         end",
        "1",
        "circuit_breaker:{0}:fleet:breaker-",
        &breakers.len().to_string(),
    ]);
    // The first batch waits.
    rig.server.command(&["CLIENT", "PAUSE", &PAUSE.as_millis().to_string(), "ALL"]);
    rig.agent.rounds.must_reassert = true;
    while rig.agent.rounds.reasserts() {
        rig.agent.reassert_some().unwrap();
    }
    let is_late = |(number, breaker): (usize, &rig::Breaker)| {
        let view = rig.view(breaker);
        let own = micros(view.open_until.unwrap().since(view.now));
        let answer = rig.other(&name(number), Request::Join(Record::NONE));
        let left = answer.record.until.unwrap() - answer.now;
        left > own + micros(PAUSE / 2)
    };
    let late = breakers.iter().enumerate().map(is_late).filter(|is_late| *is_late).count();
    assert!(late > 0, "the server did not wait");
    assert!(late <= BATCH, "{late} ends are late, which is more than a batch");
}

#[needs::programs("redis-server")]
#[test]
fn votes_are_taken_back_in_batches_of_the_pace() {
    const VOTES: usize = 40;
    let Some(mut rig) = Rig::start(Agreement::replicas(2)) else { return };
    let name = |number: usize| format!("breaker-{number}");
    let mut config = Rig::config();
    config.recovery_timeout = Duration::from_secs(3);
    let breakers: Vec<_> = (0..VOTES).map(|one| rig.add(&name(one), config.clone())).collect();
    rig.until("all have joined", |rig| rig.agent.changed.is_empty());
    breakers.iter().for_each(rig::Breaker::fail);
    rig.take_messages();
    let ids: Vec<u64> = breakers.iter().map(|breaker| breaker.id).collect();
    rig.agent.settle(&ids).unwrap();
    let counted = |rig: &Rig| (0..VOTES).map(|one| rig.votes(&name(one)).len()).sum::<usize>();
    assert_eq!(counted(&rig), VOTES);
    for breaker in &breakers {
        eventually("its vote has ended", || {
            let view = rig.view(breaker);
            rig.shared(breaker).entry.vote_until().unwrap() <= view.now
        });
    }
    rig.agent.transport.pace = Pace::new();
    let (before, size) = (rig.agent.transport.round_trips, rig.agent.transport.pace.size());
    assert!(size < VOTES, "{size}");
    rig.agent.end_votes(&ids).unwrap();
    let sent = rig.agent.transport.round_trips - before;
    assert_eq!(usize::try_from(sent).unwrap(), VOTES.div_ceil(size));
    assert_eq!(counted(&rig), 0);
}
