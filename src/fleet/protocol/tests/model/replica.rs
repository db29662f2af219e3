//! A replica of the model: its side of the protocol, and what stands for its state machine.

use super::world::Wire;
use crate::{
    fleet::protocol::{
        command::Command,
        fence::Fence,
        member::{Cause, Decision, Member, Terms},
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
        (self.lease, self.probing) = (None, false);
        self.decision = Some(Decision { cause, state, until, opens: 1 });
    }

    /// The command that tells the decision, if there is something to tell.
    pub(super) fn submit(&self, terms: &Terms, token: u64, now: Micros) -> Option<Command> {
        // A recovery from an older state than the one that is known says nothing about it.
        let told =
            self.decision.filter(|one| !(self.is_behind && one.cause == Cause::RecoveredAlone));
        told.and_then(|decision| self.member.submit(&decision, terms, token, now))
    }
}
