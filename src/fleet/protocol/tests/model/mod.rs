//! The members and the server model-checked: messages that are late, twice or lost, a replica that
//! dies, a server that forgets everything, evicts the breaker's key or falls back to an older copy,
//! and one whose clock goes back or ahead. States are set by hand, too.

mod counts;
mod faults;
mod replica;
mod runs;
mod world;

use std::collections::BTreeSet;

use stateright::{Model, Property};

use self::{
    faults::Fault,
    replica::Replica,
    world::{Wire, World},
};
use super::server::{Bug, Server};
use crate::{
    fleet::protocol::{
        command::{FleetCommand, Request, Status, Verdict, Voter},
        fence::Fence,
        member::{Cause, Terms},
        record::{Micros, Record},
    },
    state::State,
};

const SECOND: Micros = 1_000_000;
const OPEN_TIME: Micros = 2 * SECOND;
const LEASE: Micros = 2 * SECOND;
/// How far the server's clock is ahead of the replicas' at first, and how far it steps.
const AHEAD: Micros = 10 * SECOND;
const CLOCK_STEP: Micros = 3 * SECOND;

#[derive(Debug, Clone)]
struct Fleet {
    replicas: usize,
    quorum: u32,
    /// How many results decide, and how many probes there are at once.
    needed: u32,
    /// Whether the circuit is half-open at first, as all know.
    is_half_open: bool,
    bug: Option<Bug>,
    /// How often each of these happens.
    trips: u8,
    faults: u8,
    clock_steps: u8,
    evictions: u8,
    sets: u8,
    until: Micros,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Tick,
    Trip(usize),
    /// An operator sets a state.
    Set(usize),
    Submit(usize),
    Join(usize),
    AskForLease(usize),
    GiveUp(usize),
    Probe(usize),
    ProbeEnds(usize, Verdict),
    /// Without the server, a replica needs no lease.
    RecoverAlone(usize),
    Request(usize),
    Answer(usize),
    News(usize, usize),
    Fails(Fault),
    /// The replica notices that the server's clock has stepped.
    Notice(usize),
    /// It asks for more time for its lease.
    Renew(usize),
    /// It takes its vote back.
    Withdraw(usize),
}

impl Fleet {
    fn terms(&self, voter: usize) -> Terms {
        Terms {
            voter: Voter::of(voter as u64),
            quorum: self.quorum,
            needed: self.needed,
            rate: None,
            next_open_time: OPEN_TIME,
        }
    }

    fn sound(replicas: usize, quorum: u32) -> Self {
        let until = 4 * SECOND;
        Self {
            replicas,
            quorum,
            needed: 1,
            is_half_open: false,
            bug: None,
            trips: 2,
            faults: 1,
            clock_steps: 0,
            evictions: 0,
            sets: 0,
            until,
        }
    }

    /// Two results decide, and two probes are made at once.
    fn with_results(self) -> Self {
        Self { needed: 2, until: 6 * SECOND, ..self }
    }

    /// Instead of another fault, the server's clock steps.
    fn with_steps(self) -> Self {
        Self { faults: 0, clock_steps: 1, ..self }
    }

    /// Instead of another fault, the server evicts the breaker's key.
    fn with_evictions(self) -> Self {
        Self { faults: 0, evictions: 1, ..self }
    }

    fn with_sets(self) -> Self {
        Self { trips: 1, sets: 2, ..self }
    }
}

impl World {
    /// All know a state whose open time is over.
    fn begin_half_open(&mut self) {
        let fence = Fence { number: 1, token: 1 };
        let record = Record { fence, state: State::Open, until: Some(0), ..Record::NONE };
        let command = FleetCommand { seen: Fence::NONE, request: Request::Join(record) };
        let (answer, _) = self.server.apply(self.server_time(), &command);
        let record = answer.record.rebased(answer.now, self.now);
        for index in 0..self.replicas.len() {
            let _ = self.learn(index, record);
        }
        self.tokens = 1;
    }
}

impl Model for Fleet {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let mut world = World {
            now: SECOND,
            ahead: AHEAD,
            steps: 0,
            server: Server { bug: self.bug, ..Server::default() },
            era: 0,
            copy: None,
            replicas: vec![Replica::new(AHEAD); self.replicas],
            requests: Vec::new(),
            answers: Vec::new(),
            news: Vec::new(),
            tokens: 0,
            trips: self.trips,
            sets: self.sets,
            evictions: self.evictions,
            losses: 0,
            set: Vec::new(),
            faults: self.faults,
            last_failure: 0,
            granted: Vec::new(),
            counted: Vec::new(),
            broken: None,
        };
        if self.is_half_open {
            world.begin_half_open();
        }
        vec![world]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.now < self.until {
            steps.push(Step::Tick);
        }
        for (index, replica) in world.replicas.iter().enumerate().filter(|(_, one)| one.alive) {
            let state = replica.state_at(world.now);
            if state == State::Closed && world.trips > 0 {
                steps.push(Step::Trip(index));
            }
            if world.sets > 0 {
                steps.push(Step::Set(index));
            }
            if replica.waits_for.is_none() {
                if replica.decision.is_some() || !replica.results.is_empty() {
                    steps.push(Step::Submit(index));
                }
                if replica.vote.is_some() {
                    steps.push(Step::Withdraw(index));
                }
                let knows = replica.member.seen().fence != Fence::NONE;
                let is_unknown = replica.member.seen().fence != world.server.stored();
                if is_unknown && (knows || world.server.entry.is_some()) {
                    steps.push(Step::Join(index));
                }
                if replica.noticed < world.steps {
                    steps.push(Step::Notice(index));
                    if replica.lease.is_some() {
                        steps.push(Step::Renew(index));
                    }
                }
                let asks = replica.lease.is_none() && replica.decision.is_none();
                if state == State::HalfOpen && replica.is_fleets && asks {
                    steps.push(Step::AskForLease(index));
                }
            } else {
                steps.push(Step::GiveUp(index));
            }
            if state == State::HalfOpen && replica.decision.is_none() {
                steps.push(Step::RecoverAlone(index));
            }
            let has_lease = replica.lease.is_some_and(|(_, until)| until > world.now);
            if has_lease && !replica.probing && state == State::HalfOpen {
                steps.push(Step::Probe(index));
            }
            if replica.probing {
                steps.push(Step::ProbeEnds(index, Verdict::Good));
                steps.push(Step::ProbeEnds(index, Verdict::Bad));
            }
            for news in 0..world.news.len() {
                let record = world.news(news);
                let seen = replica.member.seen();
                if record.fence > seen.fence || record.ends_before(seen) {
                    steps.push(Step::News(news, index));
                }
            }
        }
        steps.extend((0..world.requests.len()).map(Step::Request));
        steps.extend((0..world.answers.len()).map(Step::Answer));
        steps.extend(self.faults(world).into_iter().map(Step::Fails));
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        let now = world.now;
        match step {
            Step::Tick => world.now += SECOND,
            Step::Trip(index) => {
                world.trips -= 1;
                world.last_failure = now;
                let until = Some(now + OPEN_TIME);
                world.replicas[index].decide(Cause::Trip, State::Open, until);
            }
            Step::Set(index) => world.set_by_hand(index),
            Step::Submit(index) => {
                let token = world.token(self, index);
                match world.replicas[index].submit(&self.terms(index), token, now) {
                    Some(command) => world.send(index, command),
                    None => world.drop_decision(index),
                }
            }
            Step::Join(index) => {
                let join = world.replicas[index].member.join(now);
                world.send(index, join);
            }
            Step::AskForLease(index) => {
                world.tokens += 1;
                world.ask_for_lease(self, index, world.tokens);
            }
            Step::GiveUp(index) => world.replicas[index].waits_for = None,
            Step::Probe(index) => world.replicas[index].probing = true,
            Step::ProbeEnds(index, verdict) => {
                if verdict != Verdict::Good {
                    world.last_failure = now;
                }
                world.replicas[index].end_probe(verdict, self.needed, now + OPEN_TIME)?;
            }
            Step::RecoverAlone(index) => {
                world.replicas[index].decide(Cause::RecoveredAlone, State::Closed, None);
            }
            // A request arrives. It stays for a second time while it can still do something.
            Step::Request(index) => {
                let (sent, Wire { command, deadline, .. }) = world.requests[index];
                let now = world.server_time();
                let answer = world.serve(&command, deadline);
                let is_first = !world.answers.iter().any(|(other, _)| *other == sent);
                if now > deadline || !is_first {
                    world.requests.remove(index);
                }
                if is_first && (answer.status != Status::Late || world.steps > 0) {
                    world.answers.push((sent, answer));
                }
            }
            Step::Answer(index) => {
                let (sent, answer) = world.answers.remove(index);
                let now = world.server_time();
                world
                    .requests
                    .retain(|(other, Wire { deadline, .. })| *other != sent || *deadline >= now);
                let replica = &world.replicas[sent.replica];
                if replica.alive && replica.serial == sent.serial {
                    world.take_answer(self, sent.replica, &answer);
                }
            }
            Step::News(news, index) => {
                let record = world.news(news);
                world.learn(index, record);
            }
            Step::Fails(fault) => world.suffer(fault),
            Step::Notice(index) => match world.replicas[index].member.limit(now) {
                Some(limit) => world.send(index, limit),
                None => world.replicas[index].noticed = world.steps,
            },
            Step::Renew(index) => {
                let (lease, _) = world.replicas[index].lease?;
                world.ask_for_lease(self, index, lease);
            }
            Step::Withdraw(index) => {
                let Replica { member, vote, .. } = &world.replicas[index];
                let command = member.withdraw(vote.as_ref()?, self.terms(index).voter, self.quorum);
                match command {
                    Some(command) => world.send(index, command),
                    None => world.replicas[index].vote = None,
                }
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing is broken", |_, world: &World| world.broken.is_none()),
            Property::always("no more probes under valid leases", |fleet, world: &World| {
                let probes = world.replicas.iter().filter(|replica| {
                    let valid = |(token, until, era): &&(u64, Micros, u8)| {
                        Some(*token) == replica.lease.map(|(token, _)| token)
                            && *until > world.server_time()
                            && *era == world.era
                    };
                    let current = replica.member.seen().fence == world.server.stored();
                    replica.alive
                        && replica.probing
                        && current
                        && world.granted.iter().any(|grant| valid(&grant))
                });
                probes.count() <= fleet.needed as usize
            }),
            Property::always("no result of a probe makes a replica leave", |_, world: &World| {
                let left = |one: &Replica| matches!(one.left_by, Some(Cause::Probe { .. }));
                !world.replicas.iter().any(left)
            }),
            Property::always("none is open for too long", |_, world: &World| {
                world.replicas.iter().filter(|replica| replica.alive).all(|replica| {
                    replica.state_at(world.now) != State::Open
                        || world.now < world.last_failure + OPEN_TIME
                        || (world.steps > 0 && world.now < replica.changed_at + OPEN_TIME)
                })
            }),
            Property::always("the earliest known end is that of all", |fleet, world: &World| {
                let settled = world.settled(fleet);
                world.steps == 0 || settled.ends_are_those_that_were_known(world)
            }),
            Property::always("the fleet agrees once all have joined", |fleet, world: &World| {
                let highest = world.replicas.iter().filter(|replica| replica.alive);
                let acknowledged = highest.map(|replica| replica.member.seen().fence).max();
                let settled = world.settled(fleet);
                let living: Vec<_> = settled.replicas.iter().filter(|one| one.alive).collect();
                let fences: BTreeSet<_> =
                    living.iter().map(|replica| replica.member.seen().fence).collect();
                settled.broken.is_none()
                    && fences.len() <= 1
                    && fences.first().copied() >= acknowledged
                    && living.iter().all(|replica| {
                        // A vote that has not found enough others is a replica's own affair.
                        let seen = replica.member.seen().state_at(world.now);
                        let is_closed = replica.state == State::Closed;
                        let is_unheard = is_closed && seen == State::HalfOpen;
                        let is_own = !(replica.is_fleets || is_unheard);
                        is_own || replica.state == replica.member.seen().state
                    })
            }),
            Property::sometimes(RECOVERS, |_, world: &World| {
                world.server.stored().number >= 2
                    && world.replicas.iter().all(|one| one.alive && one.is_fleets)
                    && world.replicas.iter().all(|one| one.state == State::Closed)
            }),
        ]
    }
}

const RECOVERS: &str = "a fleet recovers";
