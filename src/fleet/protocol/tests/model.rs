//! The members and the server model-checked: messages that are late, twice or lost, a replica that
//! dies, and a server that forgets everything or falls back to an older copy.

use std::collections::{BTreeSet, HashMap};

use stateright::{Checker, HasDiscoveries, Model, Path, Property, UniformChooser};

use super::server::{Bug, Server};
use crate::{
    fleet::protocol::{
        command::{Answer, Command, Request, Status, Verdict},
        fence::Fence,
        member::{Cause, Decision, Member, Next, Terms},
        record::{Micros, Record},
    },
    state::State,
};

const OPEN_TIME: Micros = 2;
const LEASE: Micros = 2;

#[derive(Debug, Clone)]
struct Fleet {
    replicas: usize,
    quorum: u32,
    bug: Option<Bug>,
    /// How often each of these happens.
    trips: u8,
    faults: u8,
    until: Micros,
}

/// What a message carries. Nothing is removed from the network until it can do no more: a message
/// that is still there is late, and may arrive twice; one that is never taken is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Sent {
    replica: usize,
    /// Which of the replica's commands this is.
    serial: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    now: Micros,
    server: Server,
    /// Grows when the server loses what it knew.
    era: u8,
    copy: Option<Box<Server>>,
    replicas: Vec<Replica>,
    requests: Vec<(Sent, Wire)>,
    answers: Vec<(Sent, Answer)>,
    news: Vec<Record>,
    tokens: u64,
    trips: u8,
    faults: u8,
    last_failure: Micros,
    /// Leases that a server has granted: token, expiry, era.
    granted: Vec<(u64, Micros, u8)>,
    broken: Option<&'static str>,
}

/// A command, and when it was sent, which is also its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Wire(Command, Micros);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Replica {
    alive: bool,
    member: Member,
    state: State,
    until: Option<Micros>,
    /// Whether the state is the fleet's: then a probe needs a lease.
    is_fleets: bool,
    decision: Option<Decision>,
    lease: Option<(u64, Micros)>,
    probing: bool,
    serial: u8,
    waits_for: Option<Wire>,
    /// The newest fence that this replica has taken over.
    adopted: Fence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Tick,
    Trip(usize),
    Submit(usize),
    Join(usize),
    AskForLease(usize),
    GiveUp(usize),
    Probe(usize),
    ProbeEnds(usize, Verdict),
    Request(usize),
    Answer(usize),
    News(usize, usize),
    Die(usize),
    Forget,
    Copy,
    FallBack,
}

impl Replica {
    fn new() -> Self {
        Self {
            alive: true,
            member: Member::new(),
            state: State::Closed,
            until: None,
            is_fleets: false,
            decision: None,
            lease: None,
            probing: false,
            serial: 0,
            waits_for: None,
            adopted: Fence::NONE,
        }
    }

    fn state_at(&self, now: Micros) -> State {
        let fence = Fence::NONE;
        Record { fence, state: self.state, until: self.until, opens: 0 }.state_at(now)
    }

    fn decide(&mut self, cause: Cause, state: State, until: Option<Micros>) {
        (self.state, self.until, self.is_fleets) = (state, until, false);
        (self.lease, self.probing) = (None, false);
        self.decision = Some(Decision { cause, state, until, opens: 1 });
    }
}

impl World {
    fn adopt(&mut self, replica: usize, record: Record) {
        let replica = &mut self.replicas[replica];
        if record.fence < replica.adopted {
            self.broken = Some("a replica took over an older state");
        }
        if record.fence == Fence::NONE && replica.state != State::Closed {
            self.broken = Some("a replica changed without a fence");
        }
        if record.fence != replica.adopted || record.state != State::Open {
            (replica.lease, replica.probing) = (None, false);
        }
        replica.adopted = record.fence;
        (replica.state, replica.until) = (record.state, record.until);
        (replica.is_fleets, replica.decision) = (true, None);
    }

    fn send(&mut self, index: usize, command: Command) {
        let (now, replica) = (self.now, &mut self.replicas[index]);
        replica.serial += 1;
        replica.waits_for = Some(Wire(command, now));
        let sent = Sent { replica: index, serial: replica.serial };
        self.requests.push((sent, Wire(command, now)));
    }

    /// The server carries out a request, unless it comes too late.
    fn serve(&mut self, command: &Command, deadline: Micros) -> Answer {
        if self.now > deadline {
            let record = self.server.entry.as_ref().map_or(Record::NONE, |entry| entry.record);
            return Answer { status: Status::Late, record, now: self.now };
        }
        let (answer, is_news) = self.server.apply(self.now, command);
        if is_news {
            let is_higher = answer.record.fence.number > command.seen.number;
            if !is_higher && !matches!(command.request, Request::Join(_)) {
                self.broken = Some("a new state has a fence that its caller has seen");
            }
            if !self.news.contains(&answer.record) {
                self.news.push(answer.record);
            }
        }
        match command.request {
            Request::Lease { lease, .. } if answer.status == Status::Done => {
                self.granted.retain(|(token, ..)| *token != lease);
                self.granted.push((lease, self.now + LEASE, self.era));
            }
            Request::Result(result) if matches!(answer.status, Status::Done | Status::Counted) => {
                let is_valid = self.granted.iter().any(|(token, until, era)| {
                    (*token, *era) == (result.lease, self.era) && *until > self.now
                });
                if !is_valid {
                    self.broken = Some("a result under an expired lease counted");
                }
            }
            _ => {}
        }
        answer
    }

    fn take_answer(&mut self, fleet: &Fleet, index: usize, answer: &Answer) {
        let replica = &mut self.replicas[index];
        let Some(Wire(command, sent_at)) = replica.waits_for.take() else { return };
        match command.request {
            Request::Join(_) => {
                let record = answer.record.rebased(answer.now, sent_at);
                let is_newer = replica.member.learn(record);
                let forgotten = fleet.bug == Some(Bug::MissingKeyIsClosed)
                    && answer.record == Record::NONE
                    && replica.decision.is_none();
                if forgotten || (is_newer && replica.decision.is_none()) {
                    self.adopt(index, record);
                }
            }
            Request::Lease { lease, lasts, .. } => {
                let record = answer.record.rebased(answer.now, sent_at);
                if replica.member.learn(record) && replica.decision.is_none() {
                    self.adopt(index, record);
                } else if answer.status == Status::Done
                    && replica.is_fleets
                    && replica.state_at(self.now) == State::HalfOpen
                    && replica.member.seen().fence == command.seen
                {
                    replica.lease = Some((lease, sent_at + lasts));
                }
            }
            Request::Release { .. } => {}
            Request::Vote { .. } | Request::Set { .. } | Request::Result(_) => {
                let Some(decision) = replica.decision else { return };
                match replica.member.conclude(&decision, answer, sent_at) {
                    Next::Adopt(record) => self.adopt(index, record),
                    Next::Keep => replica.decision = None,
                    Next::Again => {}
                    Next::JoinFirst => {
                        let join = replica.member.join(self.now);
                        self.send(index, join);
                    }
                }
            }
        }
    }

    /// All living replicas join, until nothing changes any more, without another fault.
    fn settled(&self, fleet: &Fleet) -> Self {
        let mut world = self.clone();
        (world.requests, world.answers) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            for index in 0..world.replicas.len() {
                world.replicas[index].waits_for = None;
                for _ in 0..4 {
                    if !world.replicas[index].alive {
                        continue;
                    }
                    let now = world.now;
                    let replica = &world.replicas[index];
                    let join = replica.member.join(now);
                    let next = replica.decision.and_then(|decision| {
                        let token = world.tokens + 1;
                        replica.member.submit(&decision, &fleet.terms(index), token, now)
                    });
                    world.tokens += 1;
                    if next.is_none() {
                        world.replicas[index].decision = None;
                    }
                    for command in [Some(join), next].into_iter().flatten() {
                        world.replicas[index].waits_for = Some(Wire(command, now));
                        let answer = world.serve(&command, now);
                        world.take_answer(fleet, index, &answer);
                    }
                }
            }
        }
        world
    }
}

impl Fleet {
    fn terms(&self, voter: usize) -> Terms {
        Terms {
            voter: voter as u64,
            quorum: self.quorum,
            needed: 1,
            rate: None,
            next_open_time: OPEN_TIME,
        }
    }

    fn sound(replicas: usize, quorum: u32) -> Self {
        Self { replicas, quorum, bug: None, trips: 2, faults: 1, until: 4 }
    }
}

impl Model for Fleet {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            now: 1,
            server: Server { bug: self.bug, ..Server::default() },
            era: 0,
            copy: None,
            replicas: vec![Replica::new(); self.replicas],
            requests: Vec::new(),
            answers: Vec::new(),
            news: Vec::new(),
            tokens: 0,
            trips: self.trips,
            faults: self.faults,
            last_failure: 0,
            granted: Vec::new(),
            broken: None,
        }]
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
            if replica.waits_for.is_none() {
                if replica.decision.is_some() {
                    steps.push(Step::Submit(index));
                }
                let knows = replica.member.seen().fence != Fence::NONE;
                let is_unknown = replica.member.seen().fence != world.server.stored();
                if is_unknown && (knows || world.server.entry.is_some()) {
                    steps.push(Step::Join(index));
                }
                let asks = replica.lease.is_none() && replica.decision.is_none();
                if state == State::HalfOpen && replica.is_fleets && asks {
                    steps.push(Step::AskForLease(index));
                }
            } else {
                steps.push(Step::GiveUp(index));
            }
            let has_lease = replica.lease.is_some_and(|(_, until)| until > world.now);
            if has_lease && !replica.probing && state == State::HalfOpen {
                steps.push(Step::Probe(index));
            }
            if replica.probing {
                steps.push(Step::ProbeEnds(index, Verdict::Good));
                steps.push(Step::ProbeEnds(index, Verdict::Bad));
            }
            if world.faults > 0 {
                steps.push(Step::Die(index));
            }
            for (news, record) in world.news.iter().enumerate() {
                if record.fence > replica.member.seen().fence {
                    steps.push(Step::News(news, index));
                }
            }
        }
        steps.extend((0..world.requests.len()).map(Step::Request));
        steps.extend((0..world.answers.len()).map(Step::Answer));
        if world.faults > 0 && world.server.entry.is_some() {
            steps.push(Step::Forget);
            if world.copy.is_none() {
                steps.push(Step::Copy);
            } else {
                steps.push(Step::FallBack);
            }
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        let now = world.now;
        match step {
            Step::Tick => world.now += 1,
            Step::Trip(index) => {
                world.trips -= 1;
                world.last_failure = now;
                let until = Some(now + OPEN_TIME);
                world.replicas[index].decide(Cause::Trip, State::Open, until);
            }
            Step::Submit(index) => {
                world.tokens += 1;
                let replica = &mut world.replicas[index];
                let decision = replica.decision?;
                let terms = self.terms(index);
                match replica.member.submit(&decision, &terms, world.tokens, now) {
                    Some(command) => world.send(index, command),
                    None => replica.decision = None,
                }
            }
            Step::Join(index) => {
                let join = world.replicas[index].member.join(now);
                world.send(index, join);
            }
            Step::AskForLease(index) => {
                world.tokens += 1;
                let request = Request::Lease { lease: world.tokens, lasts: LEASE, max: 1 };
                let command = world.replicas[index].member.command(request);
                world.send(index, command);
            }
            Step::GiveUp(index) => world.replicas[index].waits_for = None,
            Step::Probe(index) => world.replicas[index].probing = true,
            Step::ProbeEnds(index, verdict) => {
                let replica = &mut world.replicas[index];
                let (lease, _) = replica.lease?;
                let cause = Cause::Probe { lease, verdict };
                if verdict == Verdict::Good {
                    replica.decide(cause, State::Closed, None);
                } else {
                    world.last_failure = now;
                    replica.decide(cause, State::Open, Some(now + OPEN_TIME));
                }
            }
            // A request arrives. It stays for a second time while it can still do something.
            Step::Request(index) => {
                let (sent, Wire(command, deadline)) = world.requests[index];
                let answer = world.serve(&command, deadline);
                let is_first = !world.answers.iter().any(|(other, _)| *other == sent);
                if now > deadline || !is_first {
                    world.requests.remove(index);
                }
                if is_first && answer.status != Status::Late {
                    world.answers.push((sent, answer));
                }
            }
            Step::Answer(index) => {
                let (sent, answer) = world.answers.remove(index);
                world
                    .requests
                    .retain(|(other, Wire(_, deadline))| *other != sent || *deadline >= now);
                let replica = &world.replicas[sent.replica];
                if replica.alive && replica.serial == sent.serial {
                    world.take_answer(self, sent.replica, &answer);
                }
            }
            Step::News(news, index) => {
                let record = world.news[news];
                let replica = &mut world.replicas[index];
                if replica.member.learn(record) && replica.decision.is_none() {
                    world.adopt(index, record);
                }
            }
            Step::Die(index) => {
                world.faults -= 1;
                world.replicas[index].alive = false;
                world.replicas[index].probing = false;
            }
            Step::Forget => {
                world.faults -= 1;
                world.era += 1;
                world.server.entry = None;
            }
            Step::Copy => world.copy = Some(Box::new(world.server.clone())),
            Step::FallBack => {
                world.faults -= 1;
                world.era += 1;
                world.server = *world.copy.take()?;
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing is broken", |_, world: &World| world.broken.is_none()),
            Property::always("at most one probe under a valid lease", |_, world: &World| {
                let probes = world.replicas.iter().filter(|replica| {
                    let valid = |(token, until, era): &&(u64, Micros, u8)| {
                        Some(*token) == replica.lease.map(|(token, _)| token)
                            && *until > world.now
                            && *era == world.era
                    };
                    let current = replica.member.seen().fence == world.server.stored();
                    replica.alive
                        && replica.probing
                        && current
                        && world.granted.iter().any(|grant| valid(&grant))
                });
                probes.count() <= 1
            }),
            Property::always("none is open for too long", |_, world: &World| {
                world.replicas.iter().filter(|replica| replica.alive).all(|replica| {
                    replica.state_at(world.now) != State::Open
                        || world.now < world.last_failure + OPEN_TIME
                })
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
                        let own = !replica.is_fleets;
                        own || replica.state == replica.member.seen().state
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

/// Every path up to this many steps. Returns the properties that fail.
fn search(fleet: Fleet, depth: usize) -> Vec<&'static str> {
    let checker = fleet.checker().threads(2).target_max_depth(depth).spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    failures(&checker.discoveries())
}

/// Random paths, which go deeper. Returns the properties that fail, and whether a fleet recovered.
fn simulate(fleet: Fleet, states: usize) -> (Vec<&'static str>, bool) {
    let checker = fleet
        .checker()
        .target_max_depth(60)
        .target_state_count(states)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_simulation(7, UniformChooser)
        .join();
    println!("{} states", checker.state_count());
    let discoveries = checker.discoveries();
    (failures(&discoveries), discoveries.contains_key(RECOVERS))
}

fn failures(discoveries: &HashMap<&'static str, Path<World, Step>>) -> Vec<&'static str> {
    let failures = discoveries.iter().filter(|(name, _)| **name != RECOVERS);
    let failures = failures.inspect(|(name, path)| {
        println!("{name}: {:?}", (*path).clone().into_actions());
    });
    failures.map(|(name, _)| *name).collect()
}

#[test]
fn two_replicas_keep_every_promise() {
    assert_eq!(search(Fleet::sound(2, 1), 9), [""; 0]);
    let (failures, recovers) = simulate(Fleet::sound(2, 1), 300_000);
    assert_eq!(failures, [""; 0]);
    assert!(recovers, "no path shows a recovery: the model is too small");
}

#[test]
fn three_replicas_of_which_two_must_agree_keep_every_promise() {
    let fleet = || Fleet { trips: 4, ..Fleet::sound(3, 2) };
    assert_eq!(search(fleet(), 6), [""; 0]);
    assert_eq!(simulate(fleet(), 200_000).0, [""; 0]);
}

fn is_found(bug: Bug) -> bool {
    let fleet = Fleet { bug: Some(bug), until: 7, ..Fleet::sound(2, 1) };
    !simulate(fleet, 3_000_000).0.is_empty()
}

#[test]
fn a_fence_that_takes_only_what_is_stored_is_found() {
    assert!(is_found(Bug::FenceOfWhatIsStored));
}

#[test]
fn a_lease_without_a_token_is_found() {
    assert!(is_found(Bug::LeaseWithoutToken));
}

#[test]
fn a_missing_key_that_is_read_as_closed_is_found() {
    assert!(is_found(Bug::MissingKeyIsClosed));
}
