//! The scripts that say who is there, held to a reference, on a real server.

use std::collections::BTreeMap;

use proptest::{prelude::*, test_runner::TestRunner};

use super::{support::redis::RedisServer, transport};
use crate::{
    fleet::{
        protocol::{
            command::{FleetCommand, Request},
            fence::Fence,
            record::Micros,
        },
        replica::{KEPT, PRESENCE},
        transport::micros,
    },
    state::State,
};

const SHARD: &str = "circuit_breaker:{0}:fleet:shard";
const REPLICAS: &str = "circuit_breaker:{0}:fleet:replicas";
const NEWS: &str = "circuit_breaker:{0}:fleet:news";
const QUESTIONS: &str = "circuit_breaker:{0}:fleet:questions";
const IDS: [&str; 4] = ["a", "b", "c", "d"];

/// What a server knows of its replicas.
#[derive(Debug, Default)]
struct Presence {
    /// Differs once it has forgotten everything.
    memory: Option<String>,
    news: u64,
    /// When each was last heard of.
    seen: BTreeMap<String, Micros>,
}

impl Presence {
    /// How many are present.
    fn beat(&mut self, now: Micros, id: &str) -> u64 {
        self.seen.insert(id.to_owned(), now);
        let (kept, presence) = (micros(KEPT), micros(PRESENCE));
        self.seen.retain(|_, seen| *seen + kept > now && *seen <= now + presence);
        self.seen.values().filter(|seen| **seen + presence >= now).count() as u64
    }
}

#[derive(Debug, Clone)]
enum Step {
    Beat(&'static str),
    Leave(&'static str),
    List,
    /// A breaker gets a new state.
    NewState,
    /// Everything is gone.
    Forget,
    /// The clock goes ahead by this many microseconds, or back if they are negative.
    Clock(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let id = || proptest::sample::select(&IDS[..]);
    let seconds = prop_oneof![Just(1_i64), Just(9), Just(11), Just(601), Just(100_000)];
    prop_oneof![
        6 => id().prop_map(Step::Beat),
        1 => id().prop_map(Step::Leave),
        3 => Just(Step::List),
        1 => Just(Step::NewState),
        1 => Just(Step::Forget),
        3 => (seconds, any::<bool>()).prop_map(|(seconds, is_back)| {
            Step::Clock(if is_back { -seconds } else { seconds } * 1_000_000)
        }),
    ]
}

#[needs::programs("redis-server")]
#[test]
fn the_scripts_know_who_is_there_as_the_reference_does() {
    let Some(server) = RedisServer::start() else { return };
    let transport = std::cell::RefCell::new(transport(&server));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let steps = proptest::collection::vec(step(), 1..40);
    let result = runner.run(&steps, |steps| {
        server.command(&["FLUSHALL"]);
        let mut reference = Presence::default();
        let mut forgotten = Vec::new();
        for step in steps {
            let mut transport = transport.borrow_mut();
            match step {
                Step::Beat(id) => {
                    let beat = transport.beat(id).unwrap();
                    prop_assert_eq!(beat.replicas, reference.beat(beat.now, id));
                    prop_assert_eq!(beat.news, reference.news);
                    prop_assert!(!forgotten.contains(&beat.memory));
                    let memory = reference.memory.get_or_insert_with(|| beat.memory.clone());
                    prop_assert_eq!(&*memory, &beat.memory);
                }
                Step::Leave(id) => {
                    transport.leave(id).unwrap();
                    reference.seen.remove(id);
                }
                Step::List => {
                    let present = transport.replicas().unwrap().replicas;
                    let present: BTreeMap<_, _> = present.into_iter().collect();
                    prop_assert_eq!(&present, &reference.seen);
                }
                Step::NewState => {
                    let token = fastrand::u64(1..);
                    let request =
                        Request::Set { token, state: State::Closed, lasts: None, opens: 0 };
                    transport.call("a", FleetCommand { seen: Fence::NONE, request }).unwrap();
                    reference.news += 1;
                }
                Step::Forget => {
                    server.command(&["DEL", SHARD, REPLICAS]);
                    forgotten.extend(reference.memory.take());
                    reference = Presence::default();
                }
                Step::Clock(ahead) => {
                    for (id, seen) in &mut reference.seen {
                        *seen = seen.saturating_add_signed(-ahead);
                        server.command(&["ZINCRBY", REPLICAS, &(-ahead).to_string(), id]);
                    }
                }
            }
        }
        Ok(())
    });
    result.unwrap();
}

#[needs::programs("redis-server")]
#[test]
fn what_is_left_of_a_fleet_that_was_given_up_expires() {
    let Some(server) = RedisServer::start() else { return };
    let mut transport = transport(&server);
    let request =
        Request::Set { token: 1, state: State::ForcedOpen, lasts: Some(60_000_000), opens: 0 };
    transport.call("a", FleetCommand { seen: Fence::NONE, request }).unwrap();
    transport.ask(1, "a").unwrap();
    transport.beat("a").unwrap();
    let keys = server.command(&["KEYS", "*"]);
    let keys: Vec<&str> = keys.lines().collect();
    assert!([SHARD, REPLICAS, NEWS, QUESTIONS].iter().all(|key| keys.contains(key)), "{keys:?}");
    for key in keys {
        let seconds: i64 = server.command(&["TTL", key]).parse().unwrap();
        assert!((1..=8 * 86_400).contains(&seconds), "{key} lives for {seconds} s");
    }
}
