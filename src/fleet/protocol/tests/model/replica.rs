//! A replica of the model: its side of the protocol, and what stands for its state machine.

use super::world::Wire;
use crate::{
    fleet::protocol::{
        command::{FleetCommand, Request, Verdict},
        fence::Fence,
        member::{Cause, Decision, Member, Terms, Vote},
        record::{Micros, Record},
    },
    state::State,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is on its own")]
pub(super) struct Replica {
    pub(super) alive: bool,
    pub(super) member: Member,
    pub(super) state: State,
    pub(super) until: Option<Micros>,
    /// Whether the state is the fleet's: then a probe needs a lease.
    pub(super) is_fleets: bool,
    pub(super) decision: Option<Decision>,
    /// The token of the state that was set by hand last.
    pub(super) set_token: Option<u64>,
    /// It knows a newer state, which it has not taken over because of the decision.
    pub(super) is_behind: bool,
    pub(super) lease: Option<(u64, Micros)>,
    pub(super) probing: bool,
    /// The successes of this half-open state.
    pub(super) good: u32,
    /// How many probes have ended.
    pub(super) ends: u64,
    /// Results that decide nothing by themselves, and that the fleet does not know yet.
    pub(super) results: Vec<Decision>,
    /// The vote that did not suffice.
    pub(super) vote: Option<Vote>,
    /// Why its state is its own, once the server knows.
    pub(super) left_by: Option<Cause>,
    pub(super) serial: u8,
    pub(super) waits_for: Option<Wire>,
    /// The newest fence that this replica has taken over.
    pub(super) adopted: Fence,
    /// When it last tripped or took a state over.
    pub(super) changed_at: Micros,
    /// How far it takes the server's clock to be ahead of its own.
    pub(super) ahead: Micros,
    /// How many steps of that clock it has noticed, and told what it knows.
    pub(super) noticed: u8,
}

impl Decision {
    /// Whether a request tells it, and not an earlier result of a probe.
    pub(super) fn is_told_by(&self, request: &Request) -> bool {
        match (*request, self.cause) {
            (Request::Result(result), Cause::Probe { serial, .. }) => result.serial == serial,
            (Request::Result(_), _) => false,
            _ => true,
        }
    }
}

impl Replica {
    pub(super) fn new(ahead: Micros) -> Self {
        Self {
            alive: true,
            member: Member::new(),
            state: State::Closed,
            until: None,
            is_fleets: false,
            decision: None,
            set_token: None,
            is_behind: false,
            lease: None,
            probing: false,
            good: 0,
            ends: 0,
            results: Vec::new(),
            vote: None,
            left_by: None,
            serial: 0,
            waits_for: None,
            adopted: Fence::NONE,
            changed_at: 0,
            ahead,
            noticed: 0,
        }
    }

    pub(super) fn state_at(&self, now: Micros) -> State {
        Record { state: self.state, until: self.until, ..Record::NONE }.state_at(now)
    }

    pub(super) fn decide(&mut self, cause: Cause, state: State, until: Option<Micros>) {
        (self.state, self.until, self.is_fleets) = (state, until, false);
        (self.lease, self.probing, self.good) = (None, false, 0);
        if !matches!(cause, Cause::Probe { .. }) {
            self.results.clear();
        }
        self.decision = Some(Decision { cause, state, until, opens: 1 });
    }

    /// A probe has ended, and the circuit is open until then if it has failed.
    pub(super) fn end_probe(&mut self, verdict: Verdict, needed: u32, until: Micros) -> Option<()> {
        let (lease, _) = self.lease?;
        self.ends += 1;
        let cause = Cause::Probe { lease, serial: self.ends, verdict };
        self.probing = false;
        if verdict != Verdict::Good {
            self.decide(cause, State::Open, Some(until));
        } else if self.good + 1 >= needed {
            self.decide(cause, State::Closed, None);
        } else {
            self.good += 1;
            let state = State::HalfOpen;
            self.results.push(Decision { cause, state, until: None, opens: 0 });
        }
        Some(())
    }

    /// Whether this is the result that is submitted next.
    pub(super) fn has_result(&self, serial: u64) -> bool {
        self.results.first().is_some_and(|one| match one.cause {
            Cause::Probe { serial: of, .. } => of == serial,
            _ => false,
        })
    }

    /// The server has counted what this replica has decided, and its state remains its own.
    pub(super) fn keep(&mut self, decision: &Decision) {
        (self.decision, self.is_behind) = (None, false);
        self.vote = self.member.cast_vote(decision);
        self.left_by = Some(decision.cause);
    }

    /// The command that tells the decision, if there is something to tell.
    pub(super) fn submit(&self, terms: &Terms, token: u64, now: Micros) -> Option<FleetCommand> {
        if let Some(result) = self.results.first() {
            return self.member.submit(result, terms, token, now);
        }
        // A recovery from an older state than the one that is known says nothing about it.
        let told =
            self.decision.filter(|one| !(self.is_behind && one.cause == Cause::RecoveredAlone));
        told.and_then(|decision| self.member.submit(&decision, terms, token, now))
    }
}
