//! What there is to do for breakers: join, submit what their machines have decided, hold their
//! leases. Each step is done for all of them at once, in one round trip.

use std::{sync::atomic::Ordering, time::Instant};

use super::{Agent, SharedBreaker};
use crate::{
    breaker::sharing::SharedView,
    fleet::{
        entry::Submission,
        protocol::{
            command::{Answer, FleetCommand, Request, Status},
            member::{Decision, Next},
            record::Micros,
        },
        translate::to_micros,
    },
    store::StoreError,
};

/// How often a decision is submitted in a row: each time, another replica was faster.
const ATTEMPTS: usize = 8;

/// A breaker with something to submit.
struct Turn {
    id: u64,
    attempts: usize,
    /// The server must be told first what it has forgotten.
    joins_first: bool,
}

/// What was sent for a breaker.
enum Sent {
    Join,
    /// The result of this number, of a probe that decides nothing by itself.
    Result(u64),
    Decision {
        decisions: u64,
        decision: Decision,
        sent_at: Micros,
    },
}

/// What follows for a breaker from an answer.
enum TurnEnd {
    /// There is more to send.
    Continue,
    /// All is sent.
    Done,
    /// The attempts have come to nothing so far.
    Pause,
}

impl Agent {
    /// Does for breakers what there is to do. Those with a broken key are left out.
    pub(super) fn settle(&mut self, ids: &[u64]) -> Result<(), StoreError> {
        let mut new = Vec::new();
        for id in ids {
            let Some(shared) = self.breakers.get_mut(id) else { continue };
            shared.entry.clear_mark();
            if !shared.is_attached || self.rounds.joins(*id) {
                new.push(*id);
            }
        }
        self.attach(&new)?;
        self.submit(&self.attached(ids))?;
        self.end_votes(&self.attached(ids))?;
        let attached = self.attached(ids);
        self.hold_leases(&attached)?;
        for id in attached {
            if let Some(shared) = self.breakers.get_mut(&id).filter(|shared| shared.is_attached) {
                shared.is_reported = false;
            }
        }
        Ok(())
    }

    /// After an error, they are checked again.
    pub(super) fn settle_or_keep(&mut self, ids: &[u64]) -> Result<(), StoreError> {
        self.settle(ids).inspect_err(|_| self.changed.extend(ids))
    }

    pub(super) fn attached(&self, ids: &[u64]) -> Vec<u64> {
        let is_attached = |id: &u64| self.breakers.get(id).is_some_and(|one| one.is_attached);
        ids.iter().copied().filter(is_attached).collect()
    }

    fn attach(&mut self, ids: &[u64]) -> Result<(), StoreError> {
        self.join(ids)?;
        for id in ids {
            self.rounds.has_joined(*id);
            let shared = self.breakers.get_mut(id).filter(|shared| !shared.is_left_out);
            if let Some(shared) = shared.filter(|shared| !shared.is_attached) {
                shared.entry.set_joined(true);
                shared.is_attached = true;
                self.skip_counts(&[*id]);
            }
        }
        Ok(())
    }

    /// Submits what the machines of these breakers have decided.
    fn submit(&mut self, ids: &[u64]) -> Result<(), StoreError> {
        let now = Instant::now();
        let mut turns: Vec<Turn> = ids
            .iter()
            .filter(|id| self.breakers.get(id).is_some_and(|shared| !shared.is_paused(now)))
            .map(|id| Turn { id: *id, attempts: 0, joins_first: false })
            .collect();
        for Turn { id, .. } in &turns {
            if let Some(shared) = self.breakers.get_mut(id) {
                shared.paused_until = None;
            }
        }
        while !turns.is_empty() {
            let mut sent = Vec::new();
            for turn in turns {
                if let Some((view, step, command)) = self.next_command(&turn) {
                    sent.push((turn, view, step, command));
                }
            }
            let answers = self.call_all(sent.iter().map(|(turn, .., command)| (turn.id, *command)));
            turns = Vec::new();
            for ((mut turn, view, step, _), answer) in sent.into_iter().zip(answers?) {
                let Some(answer) = self.usable(turn.id, answer) else { continue };
                match self.take_answer(&mut turn, &view, &step, &answer) {
                    TurnEnd::Continue if turn.attempts < ATTEMPTS => turns.push(turn),
                    TurnEnd::Continue | TurnEnd::Pause => self.pause(turn.id),
                    TurnEnd::Done => self.end_pauses(turn.id),
                }
            }
        }
        Ok(())
    }

    /// What to send for a breaker. `None`: nothing more.
    fn next_command(&mut self, turn: &Turn) -> Option<(SharedView, Sent, FleetCommand)> {
        let SharedBreaker { entry, .. } = self.breakers.get_mut(&turn.id)?;
        let view = entry.view()?;
        if turn.joins_first {
            let join = entry.member.join(to_micros(view.now));
            return Some((view, Sent::Join, join));
        }
        if let Some((serial, command)) = entry.undecided(&view, &self.settings) {
            return Some((view, Sent::Result(serial), command));
        }
        match entry.submission(&view, &self.settings) {
            Submission::Settled => None,
            Submission::Send { decisions, decision, command, sent_at } => {
                if matches!(command.request, Request::Vote { quorum: 2.., .. }) {
                    // It may count before the answer is here.
                    self.signals.has_votes.store(true, Ordering::Relaxed);
                }
                Some((view, Sent::Decision { decisions, decision, sent_at }, command))
            }
        }
    }

    fn take_answer(
        &mut self,
        turn: &mut Turn,
        view: &SharedView,
        sent: &Sent,
        answer: &Answer,
    ) -> TurnEnd {
        let Some(SharedBreaker { entry, .. }) = self.breakers.get_mut(&turn.id) else {
            return TurnEnd::Done;
        };
        match *sent {
            Sent::Join => {
                entry.learn(answer.record, answer.now, view);
                turn.joins_first = false;
            }
            Sent::Result(serial) => {
                entry.learn(answer.record, answer.now, view);
                match answer.status {
                    Status::Done | Status::Counted | Status::Void | Status::Stale => {
                        entry.forget_result(serial);
                    }
                    Status::Behind => {
                        turn.attempts += 1;
                        turn.joins_first = true;
                    }
                    Status::Late | Status::Granted { .. } | Status::Denied { .. } => {
                        return TurnEnd::Pause;
                    }
                }
            }
            Sent::Decision { decisions, ref decision, sent_at } => {
                turn.attempts += 1;
                match entry.conclude(decisions, decision, answer, sent_at) {
                    Next::Adopt(_) | Next::Keep => return TurnEnd::Done,
                    Next::Again if answer.status == Status::Late => return TurnEnd::Pause,
                    Next::Again => {}
                    Next::JoinFirst => turn.joins_first = true,
                }
            }
        }
        TurnEnd::Continue
    }

    /// The server ignores what arrives late, and does so again if it is sent at once.
    pub(super) fn pause(&mut self, id: u64) {
        if let Some(shared) = self.breakers.get_mut(&id) {
            shared.paused_until = Some(Instant::now() + shared.pause.next());
        }
    }

    pub(super) fn end_pauses(&mut self, id: u64) {
        if let Some(shared) = self.breakers.get_mut(&id) {
            shared.paused_until = None;
            shared.pause.reset();
        }
    }
}
