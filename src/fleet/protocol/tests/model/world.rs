//! What the model keeps: the server, the replicas, and the messages between them.

use super::{
    super::server::{Bug, Server},
    Fleet, LEASE, OPEN_TIME,
    replica::Replica,
};
use crate::{
    fleet::protocol::{
        command::{Answer, FleetCommand, Request, Status},
        fence::Fence,
        member::{Cause, Decision, Next},
        record::{Micros, Record},
    },
    state::State,
};

/// What a message carries. Nothing is removed from the network until it can do no more: a message
/// that is still there is late, and may arrive twice; one that is never taken is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Sent {
    pub(super) replica: usize,
    /// Which of the replica's commands this is.
    pub(super) serial: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) now: Micros,
    /// How far the server's clock is ahead of the replicas', which do not jump.
    pub(super) ahead: Micros,
    /// How often it has stepped.
    pub(super) steps: u8,
    pub(super) server: Server,
    /// Grows when the server loses what it knew about the breaker.
    pub(super) era: u8,
    /// How often it has lost all that it knew.
    pub(super) losses: u8,
    pub(super) copy: Option<Box<Server>>,
    pub(super) replicas: Vec<Replica>,
    pub(super) requests: Vec<(Sent, Wire)>,
    pub(super) answers: Vec<(Sent, Answer)>,
    /// New states, and how long each lasts in all.
    pub(super) news: Vec<(Record, Option<Micros>)>,
    pub(super) tokens: u64,
    pub(super) trips: u8,
    pub(super) sets: u8,
    pub(super) evictions: u8,
    /// The states set by hand that a server has stored: which of them, and the era.
    pub(super) set: Vec<(u32, u8)>,
    pub(super) faults: u8,
    pub(super) last_failure: Micros,
    /// Leases that a server has granted: token, expiry, era.
    pub(super) granted: Vec<(u64, Micros, u8)>,
    /// Results that a server has counted: lease, number, era.
    pub(super) counted: Vec<(u64, u64, u8)>,
    pub(super) broken: Option<&'static str>,
}

/// A command, when it was sent by the replica's clock, and its deadline by the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Wire {
    pub(super) command: FleetCommand,
    pub(super) sent_at: Micros,
    pub(super) deadline: Micros,
}

impl World {
    pub(super) fn server_time(&self) -> Micros {
        self.now + self.ahead
    }

    /// These news on a replica's clock.
    pub(super) fn news(&self, index: usize) -> Record {
        let ((record, lasts), now) = (self.news[index], self.server_time());
        record.for_at_most(lasts, now).rebased(now, self.now)
    }

    /// A replica learns a record on its own clock. It takes it over unless it has something to tell
    /// itself.
    pub(super) fn learn(&mut self, index: usize, record: Record) -> bool {
        let replica = &mut self.replicas[index];
        let is_newer = replica.member.learn(record);
        let is_by_hand = replica.decision.is_some_and(|one| one.cause == Cause::ByHand);
        if is_newer && replica.decision.is_none() {
            self.adopt(index, record);
        } else if is_by_hand && replica.set_token == Some(record.fence.token) {
            // It has arrived, although its answer was lost.
            let newest = *replica.member.seen();
            self.adopt(index, newest);
        } else if is_newer {
            replica.is_behind = true;
        }
        is_newer
    }

    /// An operator sets a state. Which one it is goes through the protocol as the step of the
    /// backoff.
    pub(super) fn set_by_hand(&mut self, index: usize) {
        const FIRST: u32 = 100;
        let which = FIRST + u32::from(self.sets);
        self.sets -= 1;
        self.tokens += 1;
        let state = if self.sets == 0 { State::Disabled } else { State::ForcedOpen };
        let replica = &mut self.replicas[index];
        replica.set_token = Some(self.tokens);
        replica.decide(Cause::ByHand, state, None);
        replica.decision.as_mut().expect("a decision").opens = which;
    }

    /// The token for a decision: that of a state set by hand stays the same.
    pub(super) fn token(&mut self, fleet: &Fleet, index: usize) -> u64 {
        let replica = &self.replicas[index];
        let is_by_hand = replica.decision.is_some_and(|one| one.cause == Cause::ByHand);
        if is_by_hand && fleet.bug != Some(Bug::SetWithAnotherToken) {
            return replica.set_token.expect("a token");
        }
        self.tokens += 1;
        self.tokens
    }

    /// A decision that there is nothing to tell about.
    pub(super) fn drop_decision(&mut self, index: usize) {
        let now = self.now;
        let replica = &mut self.replicas[index];
        replica.decision = None;
        if replica.is_behind || !replica.member.is_votable(now) {
            let record = *replica.member.seen();
            self.adopt(index, record);
        }
    }

    pub(super) fn adopt(&mut self, replica: usize, record: Record) {
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
        (replica.adopted, replica.changed_at) = (record.fence, self.now);
        (replica.state, replica.until) = (record.state, record.until);
        (replica.is_fleets, replica.decision, replica.is_behind) = (true, None, false);
        (replica.good, replica.left_by) = (0, None);
        replica.results.clear();
    }

    pub(super) fn ask_for_lease(&mut self, fleet: &Fleet, index: usize, lease: u64) {
        let request = Request::Lease { lease, lasts: LEASE, max: fleet.needed };
        let command = self.replicas[index].member.command(request);
        self.send(index, command);
    }

    pub(super) fn send(&mut self, index: usize, command: FleetCommand) {
        let (now, replica) = (self.now, &mut self.replicas[index]);
        replica.serial += 1;
        let wire = Wire { command, sent_at: now, deadline: now + replica.ahead };
        replica.waits_for = Some(wire);
        let sent = Sent { replica: index, serial: replica.serial };
        self.requests.push((sent, wire));
    }

    /// The server carries out a request, unless it comes too late.
    pub(super) fn serve(&mut self, command: &FleetCommand, deadline: Micros) -> Answer {
        let now = self.server_time();
        if now > deadline {
            return Answer { status: Status::Late, record: self.server.record(), now };
        }
        let counts = |server: &Server| server.entry.as_ref().map_or(0, |one| one.good + one.bad);
        let before = counts(&self.server);
        let (answer, is_published) = self.server.apply(now, command);
        self.check_times(&answer);
        let is_new = is_published && !matches!(command.request, Request::Join(_));
        if is_new && answer.record.fence.token == 0 {
            self.broken = Some("a new state has no token");
        }
        if is_published {
            let is_higher = answer.record.fence.number > command.seen.number;
            if !is_higher && !matches!(command.request, Request::Join(_) | Request::Limit { .. }) {
                self.broken = Some("a new state has a fence that its caller has seen");
            }
            let is_limit = matches!(command.request, Request::Limit { .. });
            let is_known = |one: &Replica| one.member.seen().fence >= answer.record.fence;
            if is_new && !is_limit && self.losses == 0 && self.replicas.iter().any(is_known) {
                self.broken = Some("a new state is older than one that a replica knows");
            }
            if matches!(command.request, Request::Set { .. }) {
                let set = (answer.record.opens, self.era);
                if self.set.contains(&set) {
                    self.broken = Some("a state set by hand replaced what came after it");
                }
                self.set.push(set);
            }
            let lasts = self.server.entry.as_ref().and_then(|entry| entry.lasts);
            if !self.news.contains(&(answer.record, lasts)) {
                self.news.push((answer.record, lasts));
            }
        }
        match command.request {
            Request::Lease { lease, .. } if matches!(answer.status, Status::Granted { .. }) => {
                self.granted.retain(|(token, ..)| *token != lease);
                self.granted.push((lease, now + LEASE, self.era));
            }
            Request::Result(result) if matches!(answer.status, Status::Done | Status::Counted) => {
                let is_valid = self.granted.iter().any(|(token, until, era)| {
                    (*token, *era) == (result.lease, self.era) && *until > now
                });
                let result = (result.lease, result.serial, self.era);
                // One that is sent again is only counted again.
                let has_effect = is_published || counts(&self.server) != before;
                if has_effect && self.counted.contains(&result) {
                    self.broken = Some("a result counted twice");
                } else if has_effect && !is_valid {
                    self.broken = Some("a result under an expired lease counted");
                } else if has_effect {
                    self.counted.push(result);
                }
            }
            _ => {}
        }
        answer
    }

    /// Nothing lasts for longer than it was meant to, whatever the clock did.
    fn check_times(&mut self, answer: &Answer) {
        // The lease that it grants, or of which it tells the end, runs from here at the latest.
        for (_, until, _) in &mut self.granted {
            *until = (*until).min(answer.now + LEASE);
        }
        let open_until = answer.record.until.unwrap_or(answer.now);
        let denied_until = match answer.status {
            Status::Denied { until } => until,
            _ => answer.now,
        };
        if open_until > answer.now + OPEN_TIME || denied_until > answer.now + OPEN_TIME.max(LEASE) {
            self.broken = Some("something lasts for longer than it was meant to");
        }
    }

    pub(super) fn take_answer(&mut self, fleet: &Fleet, index: usize, answer: &Answer) {
        let (now, steps) = (self.now, self.steps);
        let replica = &mut self.replicas[index];
        let Some(Wire { command, sent_at, .. }) = replica.waits_for.take() else { return };
        replica.ahead = answer.now - now;
        match command.request {
            Request::Join(_) => {
                let record = answer.record.rebased(answer.now, sent_at);
                let forgotten = fleet.bug == Some(Bug::MissingKeyIsClosed)
                    && answer.record == Record::NONE
                    && replica.decision.is_none();
                self.learn(index, record);
                if forgotten {
                    self.adopt(index, record);
                }
            }
            Request::Lease { lease, lasts, .. } => {
                let record = answer.record.rebased(answer.now, sent_at);
                let is_newer = self.learn(index, record);
                let replica = &mut self.replicas[index];
                if !is_newer
                    && matches!(answer.status, Status::Granted { .. })
                    && replica.is_fleets
                    && replica.state_at(self.now) == State::HalfOpen
                    && replica.member.seen().fence == command.seen
                {
                    replica.lease = Some((lease, sent_at + lasts));
                }
            }
            Request::Release { .. } => {}
            Request::Limit { .. } => {
                replica.noticed = steps;
                let record = answer.record.rebased(answer.now, sent_at);
                self.learn(index, record);
            }
            Request::Vote { open_for: 0, .. } => replica.vote = None,
            Request::Result(result) if replica.has_result(result.serial) => {
                let record = answer.record.rebased(answer.now, sent_at);
                match answer.status {
                    Status::Behind => {
                        let join = replica.member.join(self.now);
                        self.send(index, join);
                    }
                    Status::Late => {}
                    _ => drop(replica.results.remove(0)),
                }
                self.learn(index, record);
            }
            Request::Vote { .. }
            | Request::Set { .. }
            | Request::Result(_)
            | Request::Recovered { .. } => {
                let is_of = |one: &Decision| one.is_told_by(&command.request);
                let Some(decision) = replica.decision.filter(is_of) else { return };
                match replica.member.conclude(&decision, answer, sent_at) {
                    Next::Adopt(_)
                        if fleet.bug == Some(Bug::CountedIsKept)
                            && answer.status == Status::Counted =>
                    {
                        replica.keep(&decision);
                    }
                    Next::Adopt(record) => self.adopt(index, record),
                    Next::Keep => replica.keep(&decision),
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
    /// If the server's clock has stepped, each says how much is left of the state.
    pub(super) fn settled(&self, fleet: &Fleet) -> Self {
        let mut world = self.clone();
        (world.requests, world.answers) = (Vec::new(), Vec::new());
        let ahead = world.ahead;
        world.replicas.iter_mut().for_each(|replica| replica.ahead = ahead);
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
                    let token = world.token(fleet, index);
                    let next = world.replicas[index].submit(&fleet.terms(index), token, now);
                    if next.is_none() {
                        world.drop_decision(index);
                    }
                    for command in [Some(join), next].into_iter().flatten() {
                        world.ask(fleet, index, command);
                    }
                    let limit = world.replicas[index].member.limit(now);
                    if let Some(limit) = limit.filter(|_| world.steps > 0) {
                        world.ask(fleet, index, limit);
                    }
                }
            }
        }
        world
    }

    /// Whether no replica takes the state to last for longer than any has known before.
    pub(super) fn ends_are_those_that_were_known(&self, before: &Self) -> bool {
        fn living(world: &World) -> impl Iterator<Item = &Record> {
            world.replicas.iter().filter(|one| one.alive).map(|one| one.member.seen())
        }
        // What has ended has no end that matters.
        let mut lasting = living(self).filter(|record| record.until > Some(self.now));
        lasting.all(|record| living(before).all(|known| !known.ends_before(record)))
    }

    /// Sends a command, which is answered at once.
    fn ask(&mut self, fleet: &Fleet, index: usize, command: FleetCommand) {
        let (sent_at, deadline) = (self.now, self.server_time());
        self.replicas[index].waits_for = Some(Wire { command, sent_at, deadline });
        let answer = self.serve(&command, deadline);
        self.take_answer(fleet, index, &answer);
    }
}
