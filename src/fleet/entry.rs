//! One shared breaker on the fleet's thread: between its machine and the protocol.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use smol_str::SmolStr;

use super::{
    health::BreakerHealth,
    protocol::{
        command::{Answer, FleetCommand, Request, Voter},
        fence::Fence,
        member::{Cause, Decision, Member, Next, Terms, Vote},
        record::{Micros, Record},
    },
    replica::BreakerView,
    settings::Settings,
    translate::{to_cause, to_decision, to_micros, to_millionths, to_tick},
    transport::micros,
};
use crate::{
    breaker::{
        cell::Cell,
        effects::Effects,
        machine::Machine,
        notify::Observer,
        sharing::{FleetState, Recorded, SharedView},
        status::BreakerStatus,
    },
    clock::Tick,
    config::Config,
    event::Reason,
    manual::Remark,
    state::State,
};

pub(super) struct FleetEntry {
    pub(super) id: u64,
    pub(super) name: SmolStr,
    cell: &'static Cell,
    observer: Weak<dyn Observer>,
    is_marked: Arc<AtomicBool>,
    health: Arc<BreakerHealth>,
    pub(super) member: Member,
    /// Differs for each breaker of each process.
    ballot: u64,
    /// The newest known state has not been taken over, because the machine had something to tell.
    is_behind: bool,
    /// The last vote that did not suffice.
    vote: Option<Vote>,
    /// The last state set by hand that was submitted.
    set: Option<Set>,
    /// What was said about a state that was set by hand, and the token of the state.
    remark: Option<(u64, Arc<Remark>)>,
}

/// A state set by hand, with the token that each attempt to submit it has.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Set {
    decisions: u64,
    token: u64,
}

/// What to do next about a decision of the machine.
pub(super) enum Submission {
    /// Nothing: there is none, or nothing to tell.
    Settled,
    Send {
        decisions: u64,
        decision: Decision,
        command: FleetCommand,
        sent_at: Micros,
    },
}

impl FleetEntry {
    pub(super) fn new(
        id: u64,
        name: SmolStr,
        cell: &'static Cell,
        observer: Weak<dyn Observer>,
        is_marked: Arc<AtomicBool>,
        health: Arc<BreakerHealth>,
    ) -> Self {
        Self {
            id,
            name,
            cell,
            observer,
            is_marked,
            health,
            member: Member::new(),
            ballot: fastrand::u64(1..),
            is_behind: false,
            vote: None,
            set: None,
            remark: None,
        }
    }

    /// Has the machine do something. `None` once the breaker is gone.
    fn transact<T>(&self, work: impl FnOnce(&mut Machine, &mut Effects) -> T) -> Option<T> {
        let observer = self.observer.upgrade()?;
        self.cell.with_shared(&*observer, work)
    }

    /// From here on, the machine says again that it has something to tell.
    pub(super) fn clear_mark(&self) {
        self.is_marked.store(false, Ordering::SeqCst);
    }

    /// What the machine says now. `None` once the breaker is gone.
    pub(super) fn view(&self) -> Option<SharedView> {
        let observer = self.observer.upgrade()?;
        self.cell.shared_view(&*observer)
    }

    /// What the rate rules have recorded. `None` once the breaker is gone.
    pub(super) fn recorded(&self) -> Option<Recorded> {
        self.transact(|machine, _| machine.recorded())
    }

    /// A rule is met by the calls of all replicas.
    pub(super) fn trip_together(&self, generation: u64, reason: Reason, failure_count: u64) {
        self.transact(|machine, effects| {
            machine.trip_together(generation, reason, failure_count, effects);
        });
    }

    /// What an operator wants to know of it, and the time. `None` once the breaker is gone.
    pub(super) fn report(&self) -> Option<(BreakerView, SystemTime)> {
        let observer = self.observer.upgrade()?;
        self.cell.inspect_owned(&*observer, |machine, now| {
            let BreakerStatus { state, since, until, reason, stats, .. } = machine.status(now);
            let view = BreakerView {
                state,
                since,
                until,
                reason,
                is_own: machine.is_state_own(),
                consecutive_failures: stats.consecutive_failures(),
                window_calls: stats.window_calls(),
                window_failures: stats.window_failures(),
                window_slow_calls: stats.window_slow_calls(),
            };
            (view, now.wall)
        })
    }

    /// The breaker decides alone, for this reason, although the fleet is reached.
    pub(super) fn leave_out(&self, reason: String) {
        self.health.set_left_out(reason);
        self.set_joined(false);
    }

    pub(super) fn set_joined(&self, is_joined: bool) {
        if is_joined {
            self.health.set_joined();
        }
        self.transact(|machine, _| machine.set_joined(is_joined));
    }

    /// The command that tells the fleet what the machine has decided.
    pub(super) fn submission(&mut self, view: &SharedView, settings: &Settings) -> Submission {
        let Some(decided) = &view.decided else { return Submission::Settled };
        if decided.reason == Reason::Restored && self.member.seen().fence != Fence::NONE {
            // What a store held may be older than what the fleet knows.
            let record = *self.member.seen();
            self.adopt(view.decisions, &record);
            return Submission::Settled;
        }
        let decision = to_decision(decided);
        let (terms, now) = (self.terms(view, settings), to_micros(view.now));
        let decisions = view.decisions;
        if decision.cause == Cause::Trip && !self.member.is_votable(now) {
            // The fleet's circuit has opened meanwhile: a vote would say nothing.
            let record = *self.member.seen();
            self.adopt(decisions, &record);
            return Submission::Settled;
        }
        // It recovered from an older state than that of the fleet.
        let is_void = self.is_behind && decision.cause == Cause::RecoveredAlone;
        let token = self.token(decisions, decision.cause);
        if let Some(remark) = &view.remark
            && matches!(decision.cause, Cause::ByHand | Cause::Restored)
        {
            self.remark = Some((token, Arc::clone(remark)));
        }
        if !is_void && let Some(command) = self.member.submit(&decision, &terms, token, now) {
            return Submission::Send { decisions, decision, command, sent_at: now };
        }
        // A recovery alone says nothing against a state set by hand, or an open time that still
        // runs: those hold for this replica too.
        if self.is_behind || !self.member.is_votable(now) {
            let record = *self.member.seen();
            self.adopt(decisions, &record);
        } else {
            self.keep_own(decisions);
        }
        Submission::Settled
    }

    /// A state set by hand keeps its token, so that it is known again if the answer to an earlier
    /// attempt was lost.
    fn token(&mut self, decisions: u64, cause: Cause) -> u64 {
        if let Some(set) = self.set.filter(|set| set.decisions == decisions) {
            return set.token;
        }
        let token = fastrand::u64(1..);
        if cause == Cause::ByHand {
            self.set = Some(Set { decisions, token });
        }
        token
    }

    /// What was said about the state that the command tells the server.
    pub(super) fn remark_of(&self, command: &FleetCommand) -> Option<Arc<Remark>> {
        match command.request {
            Request::Set { token, .. } => self.remark_under(token),
            Request::Join(record) => self.remark_under(record.fence.token),
            _ => None,
        }
    }

    fn remark_under(&self, token: u64) -> Option<Arc<Remark>> {
        let (of, remark) = self.remark.as_ref()?;
        (*of == token).then(|| Arc::clone(remark))
    }

    /// This was said about the state of this fence, which may be old.
    pub(super) fn note_remark(&mut self, fence: Fence, remark: Option<Arc<Remark>>) {
        if let Some(remark) = remark.filter(|_| fence >= self.member.seen().fence) {
            self.remark = Some((fence.token, remark));
        }
    }

    fn terms(&self, view: &SharedView, settings: &Settings) -> Terms {
        let Config { success_threshold, half_open_failure_rate, .. } = *view.config;
        Terms {
            voter: self.voter(settings),
            quorum: settings.agreement.quorum(),
            needed: success_threshold,
            rate: half_open_failure_rate.map(to_millionths),
            next_open_time: micros(view.next_open_time),
        }
    }

    /// The command that tells the fleet the result of a probe that decides nothing by itself, and
    /// the number of the result.
    pub(super) fn undecided(
        &self,
        view: &SharedView,
        settings: &Settings,
    ) -> Option<(u64, FleetCommand)> {
        let end = *view.results.first()?;
        let decision = Decision {
            cause: to_cause(Reason::ProbesSucceeded, Some(end)),
            state: State::HalfOpen,
            until: None,
            opens: 0,
        };
        let terms = self.terms(view, settings);
        let (token, now) = (fastrand::u64(1..), to_micros(view.now));
        Some((end.serial, self.member.submit(&decision, &terms, token, now)?))
    }

    pub(super) fn forget_result(&self, serial: u64) {
        self.transact(|machine, _| machine.forget_result(serial));
    }

    /// Takes note of an answer to a decision, and does what follows for the machine.
    pub(super) fn conclude(
        &mut self,
        decisions: u64,
        decision: &Decision,
        answer: &Answer,
        sent_at: Micros,
    ) -> Next {
        let next = self.member.conclude(decision, answer, sent_at);
        match next {
            Next::Adopt(record) if !self.adopt(decisions, &record) => Next::Again,
            Next::Keep => {
                self.vote = self.member.cast_vote(decision);
                self.keep_own(decisions);
                next
            }
            _ => next,
        }
    }

    /// The command that casts a vote again after the server's clock has stepped.
    pub(super) fn recast(&self, settings: &Settings) -> Option<(FleetCommand, SharedView)> {
        let vote = self.vote.as_ref()?;
        let view = self.view()?;
        let (terms, now) = (self.terms(&view, settings), to_micros(view.now));
        Some((self.member.recast(vote, &terms, fastrand::u64(1..), now)?, view))
    }

    /// The command that puts the end of the state right after the server's clock has stepped.
    pub(super) fn limit(&self) -> Option<(FleetCommand, SharedView)> {
        self.member.seen().until?;
        let view = self.view()?;
        Some((self.member.limit(to_micros(view.now))?, view))
    }

    /// Until when the last vote counts that did not suffice.
    pub(super) fn vote_until(&self) -> Option<Tick> {
        self.vote.map(|vote| to_tick(vote.until()))
    }

    /// The command that withdraws the last vote if it counts no longer: its time is over, or this
    /// replica has closed before. The vote is kept until it is [forgotten](Self::forget_vote), so
    /// that the command is sent again if it fails.
    pub(super) fn end_vote(&mut self, settings: &Settings) -> Option<FleetCommand> {
        let view = self.view()?;
        let now = to_micros(view.now);
        let vote = self.vote.as_mut()?;
        if view.state == State::Closed {
            vote.end(now);
        }
        if now < vote.until() {
            return None;
        }
        let command = self.withdrawal(settings);
        if command.is_none() {
            self.vote = None;
        }
        command
    }

    /// The command that withdraws the last vote, whether or not it counts.
    pub(super) fn withdrawal(&self, settings: &Settings) -> Option<FleetCommand> {
        let quorum = settings.agreement.quorum();
        self.member.withdraw(self.vote.as_ref()?, self.voter(settings), quorum)
    }

    fn voter(&self, settings: &Settings) -> Voter {
        Voter { replica: settings.voter, breaker: self.ballot }
    }

    /// The last vote is withdrawn.
    pub(super) fn forget_vote(&mut self) {
        self.vote = None;
    }

    /// Takes note of a record on the server's clock, where it says `now`. It changes the machine if
    /// it is newer than all before, and the machine has nothing to tell but what the record says.
    pub(super) fn learn(&mut self, record: Record, now: Micros, view: &SharedView) {
        let record = record.rebased(now, to_micros(view.now));
        // It has arrived, although its answer was lost: it must not replace what came after it.
        let set = Set { decisions: view.decisions, token: record.fence.token };
        let is_known = view.decided.is_none() || self.set == Some(set);
        let is_newer = self.member.learn(record);
        if is_newer || (view.decided.is_some() && is_known) {
            let seen = *self.member.seen();
            self.is_behind = !(is_known && self.adopt(view.decisions, &seen));
        }
    }

    fn adopt(&mut self, decisions: u64, record: &Record) -> bool {
        let fleet = FleetState {
            state: record.state,
            until: record.until.map(to_tick),
            opens: record.opens,
            by_hand: record.by_hand,
            remark: self.remark_under(record.fence.token),
        };
        let adopted = self.transact(|machine, effects| machine.adopt(decisions, &fleet, effects));
        let is_done = adopted.unwrap_or(true);
        self.is_behind &= !is_done;
        is_done
    }

    fn keep_own(&mut self, decisions: u64) {
        self.is_behind = false;
        self.transact(|machine, _| machine.keep_own(decisions));
    }

    pub(super) fn grant(&self, token: u64, until: Tick) {
        self.transact(|machine, _| machine.grant(token, until));
    }

    /// Notes the next call that meets the open circuit.
    pub(super) fn watch_calls(&self) {
        self.transact(|machine, _| machine.watch_calls());
    }

    pub(super) fn take_back(&self, token: u64) -> bool {
        self.transact(|machine, _| machine.take_back(token)).unwrap_or(true)
    }
}
