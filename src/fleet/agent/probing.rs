//! The leases of probes: asked for, renewed and given back.

use std::time::{Duration, Instant};

use super::{Agent, Released, SharedBreaker};
use crate::{
    breaker::sharing::SharedView,
    fleet::{
        entry::FleetEntry,
        leases::{LeaseRequest, Leases},
        protocol::command::{Answer, FleetCommand, Request, Status},
        transport::{Addressed, micros},
        wire::ReplyWithRemark,
    },
    store::StoreError,
};

/// How long the return of a vote is kept for a server that is not reached. With a longer open time,
/// the vote counts until that has ended.
const LONGEST_VOTE: Duration = Duration::from_secs(3600);
/// How much is kept to be given back. What is older than that lapses by itself.
const MOST_RELEASED: usize = 10_000;

/// What is asked for a breaker.
struct Asked {
    id: u64,
    view: SharedView,
    wanted: LeaseRequest,
    lease: u64,
    command: FleetCommand,
}

impl Agent {
    /// Asks for leases, renews them and gives them back, for all of these breakers at once.
    pub(super) fn hold_leases(&mut self, ids: &[u64]) -> Result<(), StoreError> {
        let asked: Vec<Asked> = ids.iter().flat_map(|id| self.ask_for_leases(*id)).collect();
        let answers = self.call_all(asked.iter().map(|one| (one.id, one.command)))?;
        let mut behind = Vec::new();
        for (one, answer) in asked.iter().zip(answers) {
            let Some(answer) = self.usable(one.id, answer) else { continue };
            self.take_lease(one, &answer);
            if answer.status == Status::Behind && !matches!(one.wanted, LeaseRequest::Return(_)) {
                behind.push(one.id);
            }
        }
        self.join(&behind)?;
        self.changed.extend(behind);
        for id in self.attached(ids) {
            self.schedule_recheck(id);
        }
        Ok(())
    }

    fn ask_for_leases(&mut self, id: u64) -> Vec<Asked> {
        let Self { settings, breakers, .. } = self;
        let Some(SharedBreaker { entry, leases, .. }) = breakers.get_mut(&id) else {
            return Vec::new();
        };
        let Some(view) = entry.view() else { return Vec::new() };
        if Leases::watches_calls(&view) {
            entry.watch_calls();
        }
        let fence = entry.member.seen().fence;
        let lasts = settings.lease;
        let mut asked = Vec::new();
        for wanted in leases.requests(&view, fence, lasts, Instant::now()) {
            let lease = match wanted {
                LeaseRequest::Acquire => fastrand::u64(1..),
                LeaseRequest::Renew(lease) | LeaseRequest::Return(lease) => lease,
            };
            let request = match wanted {
                LeaseRequest::Return(_) if !entry.take_back(lease) => continue,
                LeaseRequest::Return(_) => Request::Release { lease },
                LeaseRequest::Acquire | LeaseRequest::Renew(_) => {
                    Request::Lease { lease, lasts: micros(lasts), max: view.config.probe_limit() }
                }
            };
            let (view, command) = (view.clone(), entry.member.command(request));
            asked.push(Asked { id, view, wanted, lease, command });
        }
        asked
    }

    fn take_lease(&mut self, asked: &Asked, answer: &Answer) {
        let lasts = self.settings.lease;
        let Some(SharedBreaker { entry, leases, .. }) = self.breakers.get_mut(&asked.id) else {
            return;
        };
        let Asked { view, wanted, lease, .. } = asked;
        let now = Instant::now();
        match (wanted, answer.status) {
            (LeaseRequest::Return(_), _) => leases.returned(*lease),
            (_, Status::Granted { is_wanted }) => {
                leases.granted(*lease, is_wanted);
                // The lease runs from a moment before the server grants it.
                entry.grant(*lease, view.now.after(lasts));
            }
            (_, Status::Denied { until }) => {
                let wait = Duration::from_micros(until.saturating_sub(answer.now));
                leases.denied(*wanted, wait, now);
            }
            (_, Status::Behind) => leases.denied(*wanted, Duration::ZERO, now),
            (_, Status::Late) => {
                entry.learn(answer.record, answer.now, view);
                leases.late(*wanted, now);
            }
            _ => {
                entry.learn(answer.record, answer.now, view);
                leases.denied(*wanted, Duration::ZERO, now);
            }
        }
    }

    /// Looks at a breaker again when its leases, a pause, or the end of its vote ask for it.
    pub(super) fn schedule_recheck(&mut self, id: u64) {
        let Some(shared) = self.breakers.get_mut(&id) else { return };
        let SharedBreaker { entry, leases, later, paused_until, .. } = shared;
        if let Some(at) = later.take() {
            self.later.remove(&(at, id));
        }
        let Some(view) = entry.view() else { return };
        let now = Instant::now();
        let of_leases = leases.recheck_after(&view, self.settings.lease).map(|wait| now + wait);
        // It may be over by now: other breakers' turns take time too.
        let of_pause = *paused_until;
        let of_vote = entry.vote_until().map(|until| now + until.since(view.now));
        // A vote whose end came too late is ended again after the pause.
        let of_vote = of_vote.map(|at| of_pause.map_or(at, |pause| at.max(pause)));
        if let Some(at) = of_leases.into_iter().chain(of_pause).chain(of_vote).min() {
            *later = Some(at);
            self.later.insert((at, id));
        }
    }

    /// The fleet is gone: what it holds goes back, and others need not wait for it.
    pub(super) fn leave(&mut self) {
        for SharedBreaker { entry, leases, .. } in std::mem::take(&mut self.breakers).into_values()
        {
            self.release(&entry, &leases);
        }
        if self.is_joined() {
            while !self.released.is_empty() && self.send_released().is_ok() {}
            // Without the server, it counts as gone after a while.
            let _ = self.transport.leave(&self.settings.replica);
        }
    }

    /// Gives the leases of a breaker back that is gone, and takes its vote back: one replica that
    /// restarts must not vote as two. Without the server, that waits until it is reached.
    pub(super) fn release(&mut self, entry: &FleetEntry, leases: &Leases) {
        let now = Instant::now();
        let releases = leases.held().iter().map(|lease| Request::Release { lease: *lease });
        let releases = releases.map(|request| entry.member.command(request));
        let releases = releases.map(|command| (command, now + self.settings.lease));
        let withdrawal = entry.withdrawal(&self.settings);
        let withdrawal = withdrawal.map(|command| (command, now + LONGEST_VOTE));
        self.released.extend(releases.chain(withdrawal).map(|(command, until)| Released {
            name: entry.name.clone(),
            command,
            is_last: false,
            until,
        }));
        let more = self.released.len().saturating_sub(MOST_RELEASED);
        drop(self.released.drain(..more));
    }

    /// Sends some of what breakers that are gone give back. What arrives too late is ignored by the
    /// server, and sent once more. After an error, all is sent again: it is no harm if it is given
    /// back twice.
    pub(super) fn send_released(&mut self) -> Result<(), StoreError> {
        let now = Instant::now();
        self.released.retain(|one| now < one.until);
        let most = self.transport.pace.size().min(self.released.len());
        let commands = self.released[..most].iter().map(|Released { name, command, .. }| {
            Addressed { name, command: *command, remark: None }
        });
        let answers = self.transport.call_all(&commands.collect::<Vec<_>>())?;
        let released: Vec<_> = self.released.drain(..most).collect();
        let again = released.into_iter().zip(answers);
        let again = again.filter(|(one, answer)| !one.is_last && is_late(answer));
        self.released.extend(again.map(|(one, _)| Released { is_last: true, ..one }));
        Ok(())
    }
}

fn is_late(answer: &Result<ReplyWithRemark, StoreError>) -> bool {
    matches!(answer, Ok((one, _)) if one.status == Status::Late)
}
