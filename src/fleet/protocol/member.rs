//! A replica's side of one breaker.

use super::{
    command::{Answer, FleetCommand, ProbeResult, Request, Status, Verdict, Voter},
    fence::Fence,
    record::{Micros, Record},
};
use crate::state::State;

/// What a replica knows about the fleet's state of one breaker, on its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Member {
    /// The highest record that it has seen.
    seen: Record,
}

/// What the replica's own state machine decided, and the fleet does not know yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Decision {
    pub(crate) cause: Cause,
    /// The state that it led to, with its end on the replica's clock.
    pub(crate) state: State,
    pub(crate) until: Option<Micros>,
    pub(crate) opens: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Cause {
    /// A rule was met, or a probe failed that needed no lease.
    Trip,
    /// The state comes from a store: it may be older than what the fleet knows.
    Restored,
    /// The result of a probe under this lease.
    Probe {
        lease: u64,
        serial: u64,
        verdict: Verdict,
    },
    /// A probe that needed no lease has closed the circuit of this replica, which was open alone.
    RecoveredAlone,
    ByHand,
}

/// A vote that the server has counted, and that did not suffice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Vote {
    /// The state that it is against.
    against: Fence,
    /// Until when it counts, on the replica's clock.
    until: Micros,
    opens: u32,
}

impl Vote {
    pub(crate) const fn until(&self) -> Micros {
        self.until
    }

    /// It counts no longer from now on.
    pub(crate) fn end(&mut self, now: Micros) {
        self.until = self.until.min(now);
    }
}

/// The settings of the fleet and of the breaker that a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Terms {
    pub(crate) voter: Voter,
    pub(crate) quorum: u32,
    pub(crate) needed: u32,
    pub(crate) rate: Option<u32>,
    /// The open time at the next opening, for a probe whose result decides only with others.
    pub(crate) next_open_time: Micros,
}

/// What follows from an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Next {
    /// Take this state over.
    Adopt(Record),
    /// Keep the replica's own.
    Keep,
    /// Ask again: the decision stands against the state that is known now.
    Again,
    /// Tell the server what it has forgotten, then ask again.
    JoinFirst,
}

impl Member {
    pub(crate) const fn new() -> Self {
        Self { seen: Record::NONE }
    }

    pub(crate) fn seen(&self) -> &Record {
        &self.seen
    }

    /// Whether a trip says something about the fleet's state, as far as it is known.
    pub(crate) fn is_votable(&self, now: Micros) -> bool {
        matches!(self.seen.state_at(now), State::Closed | State::HalfOpen)
    }

    /// The vote that the server has just counted, if it is one.
    pub(crate) fn cast_vote(&self, decision: &Decision) -> Option<Vote> {
        let is_vote = matches!(decision.cause, Cause::Trip | Cause::Restored);
        let until = decision.until.filter(|_| is_vote && decision.state == State::Open)?;
        Some(Vote { against: self.seen.fence, until, opens: decision.opens })
    }

    /// The command that casts a vote again, so that it lasts for what is left of it by this
    /// replica's clock, although the server's has gone back or ahead. `None` if the vote has been
    /// decided.
    pub(crate) fn recast(
        &self,
        vote: &Vote,
        terms: &Terms,
        token: u64,
        now: Micros,
    ) -> Option<FleetCommand> {
        let Terms { voter, quorum, .. } = *terms;
        let Vote { against, until, opens } = *vote;
        let open_for = until.saturating_sub(now);
        let request = Request::Vote { voter, token, open_for, opens, quorum };
        (against == self.seen.fence).then(|| self.command(request))
    }

    /// The command that takes a vote back. `None` if the vote has been decided.
    pub(crate) fn withdraw(&self, vote: &Vote, voter: Voter, quorum: u32) -> Option<FleetCommand> {
        let Vote { against, opens, .. } = *vote;
        // Without time, and so without a state that would need a token.
        let request = Request::Vote { voter, token: 0, open_for: 0, opens, quorum };
        (against == self.seen.fence).then(|| self.command(request))
    }

    /// The command that tells the server whose clock has stepped how much is left of the state, by
    /// this replica's clock. `None` for a state without an end.
    pub(crate) fn limit(&self, now: Micros) -> Option<FleetCommand> {
        let left = self.seen.until?.saturating_sub(now);
        Some(self.command(Request::Limit { left }))
    }

    /// The command that tells the server what this replica knows.
    pub(crate) fn join(&self, now: Micros) -> FleetCommand {
        // From here on, its end is what is left of it.
        self.command(Request::Join(self.seen.rebased(now, 0)))
    }

    pub(crate) fn command(&self, request: Request) -> FleetCommand {
        FleetCommand { seen: self.seen.fence, request }
    }

    /// The command that tells the server a decision; `None` if there is nothing to tell.
    pub(crate) fn submit(
        &self,
        decision: &Decision,
        terms: &Terms,
        token: u64,
        now: Micros,
    ) -> Option<FleetCommand> {
        let left = decision.until.map(|until| until.saturating_sub(now));
        let opens = decision.opens;
        let request = match decision.cause {
            Cause::Trip => {
                // A vote lapses with its voter's open time.
                let open_for = left.filter(|left| decision.state == State::Open && *left > 0)?;
                let Terms { voter, quorum, .. } = *terms;
                Request::Vote { voter, token, open_for, opens, quorum }
            }
            Cause::Restored => restored(decision.state, left, opens, token, terms)?,
            Cause::Probe { lease, serial, verdict } => {
                let opened = decision.state == State::Open;
                Request::Result(ProbeResult {
                    token,
                    lease,
                    serial,
                    verdict,
                    needed: terms.needed,
                    rate: terms.rate,
                    open_for: left.filter(|_| opened).unwrap_or(terms.next_open_time),
                    opens: if opened { opens } else { opens.saturating_add(1) },
                })
            }
            // Where the fleet's circuit is not open, it was a matter of this replica alone.
            Cause::RecoveredAlone if self.seen.state_at(now) != State::HalfOpen => return None,
            Cause::RecoveredAlone => Request::Recovered { token },
            Cause::ByHand => Request::Set { token, state: decision.state, lasts: left, opens },
        };
        Some(self.command(request))
    }

    /// What follows from the answer to a decision. `now` is a time of the replica's at which the
    /// server had not answered yet, so that nothing lasts longer here than there.
    pub(crate) fn conclude(&mut self, decision: &Decision, answer: &Answer, now: Micros) -> Next {
        if answer.status == Status::Late {
            // What the server says beside is an answer to the next attempt, too.
            return Next::Again;
        }
        let record = answer.record.rebased(answer.now, now);
        let known = self.seen.fence;
        // What follows from it is below.
        let _ = self.learn(record);
        match answer.status {
            // The result of a probe decides only with others, of which the server has lost some.
            Status::Counted if matches!(decision.cause, Cause::Probe { .. }) => {
                Next::Adopt(self.seen)
            }
            Status::Counted if record.fence == known => Next::Keep,
            // A state has followed that the vote was counted against.
            Status::Counted | Status::Done | Status::Void => Next::Adopt(self.seen),
            Status::Stale => {
                let is_own = decision.cause == Cause::Trip;
                if is_own && record.state_at(now) == State::Closed {
                    Next::Again
                } else {
                    Next::Adopt(self.seen)
                }
            }
            Status::Behind => Next::JoinFirst,
            Status::Granted { .. } | Status::Denied { .. } | Status::Late => Next::Again,
        }
    }

    /// Takes note of a record, with times on the replica's clock. `true` if it is newer than all
    /// that are known, or the newest with an earlier end: only then does it change the replica.
    #[must_use]
    pub(crate) fn learn(&mut self, record: Record) -> bool {
        let is_newer = record.fence > self.seen.fence || record.ends_before(&self.seen);
        if is_newer {
            self.seen = record;
        }
        is_newer
    }
}

/// The request that tells a restored state to a server that knows none. One that does is asked
/// before.
fn restored(
    state: State,
    left: Option<Micros>,
    opens: u32,
    token: u64,
    terms: &Terms,
) -> Option<Request> {
    /// The shortest open time: the circuit is half-open at once, and probes need leases.
    const OVER: Micros = 1;
    let Terms { voter, quorum, .. } = *terms;
    match state {
        State::Closed => None,
        State::Open | State::HalfOpen => {
            let open_for = left.unwrap_or(0);
            // A vote that is over says nothing.
            let says_something = open_for > 0 || quorum == 1;
            let open_for = open_for.max(OVER);
            says_something.then_some(Request::Vote { voter, token, open_for, opens, quorum })
        }
        // The first state of all, so that it replaces none that follows another.
        State::ForcedOpen | State::Disabled | State::MetricsOnly => {
            let fence = Fence { number: 1, token };
            let record = Record { fence, state, until: left, opens, by_hand: true };
            (left != Some(0)).then_some(Request::Join(record))
        }
    }
}
