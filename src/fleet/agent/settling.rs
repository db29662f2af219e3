//! What there is to do for one breaker: join, submit what its machine has decided, hold its leases.

use super::{Agent, Shared};
use crate::{
    fleet::{
        entry::{Submission, to_micros},
        protocol::{command::Status, member::Next},
        transport::CallError,
    },
    store::StoreError,
};

/// How often a decision is submitted in a row: each time, another replica was faster.
const ATTEMPTS: usize = 8;

impl Agent {
    /// Does for one breaker what there is to do, or leaves it out if its key is broken.
    pub(super) fn settle(&mut self, id: u64) -> Result<(), StoreError> {
        match self.try_settle(id) {
            Err(CallError::Breaker(error)) => self.leave_out(id, &error),
            Err(CallError::Fleet(error)) => return Err(error),
            Ok(()) => {}
        }
        Ok(())
    }

    fn try_settle(&mut self, id: u64) -> Result<(), CallError> {
        let Some(shared) = self.breakers.get_mut(&id) else { return Ok(()) };
        shared.entry.clear_mark();
        if !shared.is_attached {
            self.join(&[id])?;
            let shared = self.breakers.get_mut(&id).filter(|shared| !shared.is_left_out);
            let Some(shared) = shared else { return Ok(()) };
            shared.entry.set_joined(true);
            shared.is_attached = true;
            self.skip_counts(&[id]);
        }
        self.submit(id)?;
        self.hold_leases(id)?;
        if let Some(shared) = self.breakers.get_mut(&id) {
            shared.is_reported = false;
        }
        Ok(())
    }

    /// Submits what the machine has decided.
    fn submit(&mut self, id: u64) -> Result<(), CallError> {
        let Self { transport, settings, breakers, .. } = self;
        let Some(Shared { entry, .. }) = breakers.get_mut(&id) else { return Ok(()) };
        let mut attempts = 0;
        while attempts < ATTEMPTS {
            let Some(view) = entry.view() else { return Ok(()) };
            if let Some((lease, command)) = entry.undecided(&view, settings) {
                let answer = transport.call(&entry.name, command)?;
                entry.learn(answer.record, answer.now, &view);
                match answer.status {
                    Status::Done | Status::Counted | Status::Void | Status::Stale => {
                        entry.forget_result(lease);
                    }
                    Status::Behind => {
                        attempts += 1;
                        let join = entry.member.join(to_micros(view.now));
                        let answer = transport.call(&entry.name, join)?;
                        entry.learn(answer.record, answer.now, &view);
                    }
                    Status::Late | Status::Denied { .. } => attempts += 1,
                }
                continue;
            }
            attempts += 1;
            let submission = entry.submission(&view, settings);
            let Submission::Send { decisions, decision, command, sent_at } = submission else {
                return Ok(());
            };
            let answer = transport.call(&entry.name, command)?;
            match entry.conclude(decisions, &decision, &answer, sent_at) {
                Next::Adopt(_) | Next::Keep => return Ok(()),
                Next::Again => {}
                Next::JoinFirst => {
                    let join = entry.member.join(sent_at);
                    let answer = transport.call(&entry.name, join)?;
                    entry.learn(answer.record, answer.now, &view);
                }
            }
        }
        // Not all of it is sent.
        self.changed.insert(id);
        Ok(())
    }
}
