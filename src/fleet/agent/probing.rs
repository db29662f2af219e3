//! The leases of probes: asked for, renewed and given back.

use std::time::{Duration, Instant};

use super::{Agent, Shared};
use crate::fleet::{
    entry::{Entry, to_micros},
    leases::{Leases, Wish},
    protocol::command::{Request, Status},
    transport::{CallError, micros},
};

impl Agent {
    pub(super) fn hold_leases(&mut self, id: u64) -> Result<(), CallError> {
        let Self { transport, settings, breakers, .. } = self;
        let Some(Shared { entry, leases, .. }) = breakers.get_mut(&id) else { return Ok(()) };
        let Some(view) = entry.view() else { return Ok(()) };
        if Leases::watches_calls(&view) {
            entry.watch_calls();
        }
        let fence = entry.member.seen().fence;
        let lasts = settings.lease;
        for wish in leases.wishes(&view, fence, lasts, Instant::now()) {
            let lease = match wish {
                Wish::Ask => fastrand::u64(1..),
                Wish::Renew(lease) => lease,
                Wish::Return(lease) => {
                    if entry.take_back(lease) {
                        let release = entry.member.command(Request::Release { lease });
                        transport.call(&entry.name, release)?;
                        leases.returned(lease);
                    }
                    continue;
                }
            };
            let max = view.config.probe_limit();
            let request = Request::Lease { lease, lasts: micros(lasts), max };
            // The lease runs from a moment before the server grants it.
            let sent_at = entry.view().map_or(view.now, |view| view.now);
            let answer = transport.call(&entry.name, entry.member.command(request))?;
            match answer.status {
                Status::Done => {
                    leases.granted(lease);
                    entry.grant(lease, sent_at.after(lasts));
                }
                Status::Denied { until } => {
                    let wait = Duration::from_micros(until.saturating_sub(answer.now));
                    leases.denied(wish, wait, Instant::now());
                }
                Status::Behind => {
                    let join = entry.member.join(to_micros(view.now));
                    transport.call(&entry.name, join)?;
                    leases.denied(wish, Duration::ZERO, Instant::now());
                }
                _ => {
                    entry.learn(answer.record, answer.now, &view);
                    leases.denied(wish, Duration::ZERO, Instant::now());
                }
            }
        }
        self.look_later(id);
        Ok(())
    }

    /// Looks at a breaker again when its leases ask for it.
    pub(super) fn look_later(&mut self, id: u64) {
        let Some(Shared { entry, leases, later, .. }) = self.breakers.get_mut(&id) else { return };
        if let Some(at) = later.take() {
            self.later.remove(&(at, id));
        }
        let Some(view) = entry.view() else { return };
        if let Some(wait) = leases.recheck_after(&view, self.settings.lease) {
            let at = Instant::now() + wait;
            *later = Some(at);
            self.later.insert((at, id));
        }
    }

    /// The fleet is gone: what it holds goes back, and others need not wait for it.
    pub(super) fn leave(&mut self) {
        if self.is_joined() {
            // Without the server, it counts as gone after a while.
            let _ = self.transport.leave(&self.settings.replica);
        }
        for Shared { entry, leases, .. } in std::mem::take(&mut self.breakers).into_values() {
            self.release(&entry, &leases);
        }
    }

    /// Gives the leases of a breaker back that is gone. Without the server they expire.
    pub(super) fn release(&mut self, entry: &Entry, leases: &Leases) {
        for lease in leases.held() {
            let release = entry.member.command(Request::Release { lease: *lease });
            if self.is_joined() && self.transport.call(&entry.name, release).is_err() {
                return;
            }
        }
    }
}
