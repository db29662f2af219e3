//! The script held to the reference of the protocol, on a real server.

#[path = "../../../tests/support"]
pub(super) mod support {
    #![allow(dead_code, reason = "not all of it is used here")]
    pub(crate) mod log;
    pub(crate) mod redis;
    pub(crate) mod wait;
}

mod counts;
mod forked;
mod full;
mod numbers;
mod presence;
mod withdrawals;

use std::{cell::RefCell, collections::BTreeMap, sync::Arc, time::Duration};

use proptest::{prelude::*, test_runner::TestRunner};

use self::support::redis::RedisServer;
use super::{
    keys::Keys,
    protocol::{
        command::{FleetCommand, ProbeResult, Request, Status, Verdict, Voter},
        fence::Fence,
        record::Record,
        tests::server::Server,
    },
    transport::Transport,
};
use crate::{state::State, store::redis::Connector};

const KEY: &str = "circuit_breaker:{0}:fleet:a:breaker";
const NEWS: &str = "circuit_breaker:{0}:fleet:news";

/// What a caller has seen, compared to what the server has.
#[derive(Debug, Clone, Copy)]
enum Seen {
    Nothing,
    Older,
    Same,
    OtherToken,
    Newer,
}

impl Seen {
    fn fence(self, stored: Fence) -> Fence {
        let Fence { number, token } = stored;
        match self {
            Self::Nothing => Fence::NONE,
            Self::Older => Fence { number: number.saturating_sub(1), token },
            Self::Same => stored,
            Self::OtherToken => Fence { number, token: token.wrapping_add(1) },
            Self::Newer => Fence { number: number + 1, token },
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Command(Seen, Request),
    /// Time passes.
    Wait(Duration),
    /// The key is gone.
    Forget,
    /// The clock goes ahead by this many microseconds, or back if they are negative: that much less
    /// or more is left of what lasts.
    Clock(i64),
}

/// Times that have passed at the next command, or that last.
fn time() -> impl Strategy<Value = u64> {
    prop_oneof![1_u64..500, Just(3_000), Just(60_000_000)]
}

fn small() -> impl Strategy<Value = u64> {
    prop_oneof![1_u64..4, Just(u64::MAX)]
}

/// More than the server knows again.
fn by_hand() -> impl Strategy<Value = u64> {
    prop_oneof![1_u64..13, Just(u64::MAX)]
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![
        Just(State::Closed),
        Just(State::Open),
        Just(State::ForcedOpen),
        Just(State::Disabled),
        Just(State::MetricsOnly),
    ]
}

fn voter() -> impl Strategy<Value = Voter> {
    (1_u64..4, 1_u64..3).prop_map(|(replica, breaker)| Voter { replica, breaker })
}

fn lease_request() -> impl Strategy<Value = Request> {
    (1_u64..4, time(), 1_u32..3).prop_map(|(lease, lasts, max)| Request::Lease {
        lease,
        lasts,
        max,
    })
}

fn result() -> impl Strategy<Value = Request> {
    let verdict = prop_oneof![
        6 => Just(Verdict::Good),
        2 => Just(Verdict::Bad),
        1 => Just(Verdict::TimedOut),
    ];
    let rate = prop_oneof![Just(None), Just(Some(500_000)), Just(Some(1_000_000))];
    let opens = 2;
    (any::<u64>(), 1_u64..4, 1_u64..6, verdict, 1_u32..6, rate, time()).prop_map(
        move |(token, lease, serial, verdict, needed, rate, open_for)| {
            Request::Result(ProbeResult {
                token,
                lease,
                serial,
                verdict,
                needed,
                rate,
                open_for,
                opens,
            })
        },
    )
}

/// What replicas do while the circuit is half-open.
fn probing_step() -> impl Strategy<Value = Step> {
    let release = (1_u64..4).prop_map(|lease| Request::Release { lease });
    let request = prop_oneof![8 => lease_request(), 6 => result(), 1 => release];
    prop_oneof![
        12 => request.prop_map(|request| Step::Command(Seen::Same, request)),
        1 => (1_u64..4).prop_map(|millis| Step::Wait(Duration::from_millis(millis))),
        1 => Just(Step::Clock(3_000)),
        1 => Just(Step::Clock(-3_000)),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let until = proptest::option::of(time());
    let record = (0_u64..6, small(), state(), until, 0_u32..3, any::<bool>());
    prop_oneof![
        2 => record.prop_map(|(number, token, state, until, opens, by_hand)| {
            let fence = if number == 0 { Fence::NONE } else { Fence { number, token } };
            Request::Join(Record { fence, state, until, opens, by_hand })
        }),
        // Without time, it is withdrawn.
        4 => (voter(), any::<u64>(), prop_oneof![4 => time(), 1 => Just(0)], 1_u32..4, 1_u32..4)
            .prop_map(|(voter, token, open_for, opens, quorum)| {
                Request::Vote { voter, token, open_for, opens, quorum }
            }
        ),
        2 => (by_hand(), state(), proptest::option::of(time())).prop_map(|(token, state, lasts)| {
            Request::Set { token, state, lasts, opens: 0 }
        }),
        4 => lease_request(),
        1 => (1_u64..4).prop_map(|lease| Request::Release { lease }),
        1 => any::<u64>().prop_map(|token| Request::Recovered { token }),
        2 => time().prop_map(|left| Request::Limit { left }),
        4 => result(),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let seen = prop_oneof![
        6 => Just(Seen::Same),
        1 => Just(Seen::Nothing),
        1 => Just(Seen::Older),
        1 => Just(Seen::OtherToken),
        1 => Just(Seen::Newer),
    ];
    prop_oneof![
        12 => (seen, request()).prop_map(|(seen, request)| Step::Command(seen, request)),
        2 => (1_u64..4).prop_map(|millis| Step::Wait(Duration::from_millis(millis))),
        1 => Just(Step::Forget),
        1 => (time(), any::<bool>()).prop_map(|(time, is_back)| {
            let time = i64::try_from(time).unwrap();
            Step::Clock(if is_back { -time } else { time })
        }),
    ]
}

type Statuses = BTreeMap<&'static str, u32>;

fn transport(server: &RedisServer) -> Transport {
    let connector = Arc::new(Connector::new(&server.url()).unwrap());
    Transport::new(connector, Keys::new("circuit_breaker", 0), Duration::from_secs(60))
}

/// Sends commands to a server and to the reference. Returns how often each kind of answer came.
fn compare(server: &RedisServer, steps: impl Strategy<Value = Vec<Step>>) -> Statuses {
    let transport = RefCell::new(transport(server));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let statuses = RefCell::new(BTreeMap::new());
    let result = runner.run(&steps, |steps| {
        server.command(&["FLUSHALL"]);
        let mut reference = Server::default();
        let mut news = Vec::new();
        for step in &steps {
            match step {
                Step::Wait(time) => std::thread::sleep(*time),
                Step::Forget => {
                    server.command(&["DEL", KEY]);
                    reference.entry = None;
                }
                Step::Clock(ahead) => {
                    let Some(entry) = &mut reference.entry else { continue };
                    if let Some(until) = &mut entry.record.until {
                        *until = until.saturating_add_signed(-ahead);
                        server.command(&["HINCRBY", KEY, "u", &(-ahead).to_string()]);
                    }
                    let vote = |Voter { replica, breaker }: &Voter| {
                        format!("v:{replica:016x}:{breaker:016x}")
                    };
                    let votes = entry.votes.iter_mut().map(|(voter, span)| (vote(voter), span));
                    let lease = |token: &u64| format!("l:{token:016x}");
                    let leases = entry.leases.iter_mut().map(|(token, span)| (lease(token), span));
                    for (field, span) in votes.chain(leases) {
                        span.until = span.until.saturating_add_signed(-ahead);
                        let value = server.command(&["HGET", KEY, &field]);
                        let (_, lasts) = value.split_once(' ').unwrap();
                        let value = format!("{} {lasts}", span.until);
                        server.command(&["HSET", KEY, &field, &value]);
                    }
                }
                Step::Command(seen, request) => {
                    let seen = seen.fence(reference.stored());
                    let command = FleetCommand { seen, request: *request };
                    let answer = transport.borrow_mut().call("a", command).unwrap();
                    let (expected, is_published) = reference.apply(answer.now, &command);
                    prop_assert_eq!(answer, expected, "{:?}", command);
                    if is_published {
                        let lasts = reference.entry.as_ref().and_then(|entry| entry.lasts);
                        news.push(told(news.len() + 1, &expected.record, lasts));
                    }
                    *statuses.borrow_mut().entry(kind(&answer.status)).or_insert(0) += 1;
                }
            }
        }
        let stream = server.command(&["XRANGE", NEWS, "-", "+"]);
        let stream: Vec<&str> = stream.split('\n').collect();
        let entries = stream.chunks_exact(19).map(|entry| entry[1..].join(" "));
        let stream: Vec<String> = entries.map(|entry| entry.replace(" d  o", " d - o")).collect();
        prop_assert_eq!(stream, news);
        Ok(())
    });
    result.unwrap();
    println!("{:?}", statuses.borrow());
    statuses.into_inner()
}

#[needs::programs("redis-server")]
#[test]
fn the_script_answers_every_command_as_the_reference_does() {
    let Some(server) = RedisServer::start() else { return };
    let statuses = compare(&server, proptest::collection::vec(step(), 1..40));
    // Every kind of answer was compared.
    for kind in ["behind", "counted", "denied", "done", "granted", "stale", "void"] {
        assert!(statuses.contains_key(kind), "{statuses:?}");
    }
}

/// Of commands at random, few meet a half-open circuit.
#[needs::programs("redis-server")]
#[test]
fn the_script_answers_commands_about_leases_and_results_as_the_reference_does() {
    let Some(server) = RedisServer::start() else { return };
    let fence = Fence { number: 7, token: 7 };
    let state = State::Open;
    let half_open = Record { fence, state, until: Some(1), opens: 1, by_hand: false };
    let begins = move || {
        let join = Step::Command(Seen::Same, Request::Join(half_open));
        vec![join, Step::Wait(Duration::from_millis(1))]
    };
    let steps = proptest::collection::vec(probing_step(), 1..40);
    let steps = steps.prop_map(move |steps| begins().into_iter().chain(steps).collect());
    let statuses = compare(&server, steps);
    assert!(statuses["granted"] > 100 && statuses["counted"] > 100, "{statuses:?}");
    assert!(statuses["wanted"] > 10, "{statuses:?}");
}

/// The fields of an entry of the stream of news.
fn told(serial: usize, record: &Record, lasts: Option<u64>) -> String {
    let Record { fence: Fence { number, token }, state, until, opens, by_hand } = record;
    let (until, lasts) = (until.unwrap_or(0), lasts.map_or("-".to_owned(), |one| one.to_string()));
    let (state, by_hand) = (state.as_str(), u8::from(*by_hand));
    let record = format!("n {number} t {token:016x} s {state} u {until} d {lasts} o {opens}");
    format!("i {serial} b a {record} h {by_hand}")
}

fn kind(status: &Status) -> &'static str {
    match status {
        Status::Done => "done",
        Status::Granted { is_wanted: false } => "granted",
        Status::Granted { is_wanted: true } => "wanted",
        Status::Counted => "counted",
        Status::Stale => "stale",
        Status::Behind => "behind",
        Status::Denied { .. } => "denied",
        Status::Void => "void",
        Status::Late => "late",
    }
}

#[needs::programs("redis-server")]
#[test]
fn a_command_that_arrives_after_its_deadline_does_nothing() {
    let Some(server) = RedisServer::start() else { return };
    let connector = Arc::new(Connector::new(&server.url()).unwrap());
    let mut transport =
        Transport::new(connector, Keys::new("circuit_breaker", 0), Duration::from_micros(1));
    transport.beat("a").unwrap();
    transport.pretend_told(1, Duration::ZERO);
    let request = Request::Set { token: 1, state: State::ForcedOpen, lasts: None, opens: 0 };
    let late = transport.call("a", FleetCommand { seen: Fence::NONE, request }).unwrap();
    assert_eq!((late.status, late.record), (Status::Late, Record::NONE));
    assert_eq!(server.command(&["EXISTS", KEY]), "0");
    // What a replica knows is fenced, so it is never too late.
    transport.pretend_told(1, Duration::ZERO);
    let fence = Fence { number: 3, token: 1 };
    let record = Record { fence, state: State::ForcedOpen, until: None, opens: 0, by_hand: true };
    let request = Request::Join(record);
    let joined = transport.call("a", FleetCommand { seen: Fence::NONE, request }).unwrap();
    assert_eq!((joined.status, joined.record), (Status::Done, record));
}

#[needs::programs("redis-server")]
#[test]
fn a_record_outlives_its_use_by_a_day_and_a_state_by_hand_does_not_expire() {
    let Some(server) = RedisServer::start() else { return };
    let mut transport = transport(&server);
    let mut set = |state, lasts| {
        let request = Request::Set { token: fastrand::u64(1..), state, lasts, opens: 0 };
        transport.call("a", FleetCommand { seen: Fence::NONE, request }).unwrap();
        let ttl: i64 = server.command(&["TTL", KEY]).parse().unwrap();
        ttl
    };
    assert!((86_390..=86_400).contains(&set(State::Closed, None)));
    assert!((86_990..=87_000).contains(&set(State::ForcedOpen, Some(600_000_000))));
    assert_eq!(set(State::ForcedOpen, None), -1);
}

#[needs::programs("redis-server")]
#[test]
fn no_state_outlasts_its_time_although_the_clock_goes_back() {
    let Some(server) = RedisServer::start() else { return };
    let mut transport = transport(&server);
    let mut call =
        |request| transport.call("a", FleetCommand { seen: Fence::NONE, request }).unwrap();
    let lasts = 60_000_000;
    let request =
        Request::Vote { voter: Voter::of(1), token: 1, open_for: lasts, opens: 1, quorum: 1 };
    call(request);
    // As if the clock had gone back by an hour.
    server.command(&["HINCRBY", KEY, "u", "3600000000"]);
    let answer = call(Request::Join(Record::NONE));
    assert_eq!(answer.record.until, Some(answer.now + lasts));
    let stored: u64 = server.command(&["HGET", KEY, "u"]).parse().unwrap();
    assert_eq!(answer.record.until, Some(stored));
}

#[needs::programs("redis-server")]
#[test]
fn a_vote_that_is_taken_back_opens_nothing_under_another_replicas_quorum() {
    let Some(server) = RedisServer::start() else { return };
    let mut transport = transport(&server);
    let mut vote = |voter, open_for, quorum| {
        let request =
            Request::Vote { voter: Voter::of(voter), token: voter, open_for, opens: 1, quorum };
        transport.call("a", FleetCommand { seen: Fence::NONE, request }).unwrap()
    };
    let lasts = 60_000_000;
    assert_eq!(vote(1, lasts, 3).status, Status::Counted);
    assert_eq!(vote(2, lasts, 3).status, Status::Counted);
    let answer = vote(3, 0, 2);
    assert_eq!((answer.status, answer.record), (Status::Counted, Record::NONE));
    assert_eq!(server.command(&["EXISTS", NEWS]), "0");
    assert_eq!(vote(3, lasts, 2).record.state, State::Open);
}
